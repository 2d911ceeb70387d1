"""The command line: what a person does with a stack, on AWS and on a local cloud alike."""
