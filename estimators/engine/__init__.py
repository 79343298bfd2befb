"""How a network learns fast: loop, passes, optimiser, memory, stacking; knows no method. See README.md beside this."""
