"""Regularisation: penalties on moving away from old weights."""
