"""Replay: old rows, or made-up ones, are learned again."""
