"""Isolation: parameters of their own for each task."""
