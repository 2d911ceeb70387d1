"""Failures, by what causes them."""
