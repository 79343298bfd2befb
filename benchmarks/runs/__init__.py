"""Runs: strategies and streams by name, suites of them, the plan of cells, and how a cell is run and identified."""
