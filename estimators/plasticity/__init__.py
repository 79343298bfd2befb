"""Plasticity: keep a network able to learn, however long the stream."""
