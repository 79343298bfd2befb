"""Incremental learning without forgetting: strategies, a benchmark, and reports that say which one is worth it."""

__version__ = "1.0.0"
