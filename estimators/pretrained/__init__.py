"""Pretrained models: as a source of features that are computed once, and as networks with adapters."""
