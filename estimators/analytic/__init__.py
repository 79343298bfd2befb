"""Closed form: exact statistics of the data, no gradient."""
