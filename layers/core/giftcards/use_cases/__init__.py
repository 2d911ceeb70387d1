"""One module per function."""
