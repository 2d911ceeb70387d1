"""What runs on a laptop only: the local cloud and the supplier simulator (never deployed)."""
