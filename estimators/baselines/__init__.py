"""Baselines: the bounds that strategies are held to."""
