"""A simulation of the service in virtual time, for bench/scale.py."""
