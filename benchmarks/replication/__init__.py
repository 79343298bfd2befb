"""Replication: published results, run again with their settings and compared."""
