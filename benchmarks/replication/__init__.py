"""Replication: numbers that others published, run again with their settings and compared."""
