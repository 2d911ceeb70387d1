"""One module per use case: what a function does, told as one call."""
