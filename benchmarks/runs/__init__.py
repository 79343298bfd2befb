"""Runs: what is to be run, cell by cell, and the running of it."""
