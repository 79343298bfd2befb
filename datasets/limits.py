"""Limits that a suite is checked for, too, without the time that NumPy takes to import."""

MOST_EXPERIENCES = 100_000
"""Experiences of a stream that could make any number of them."""
