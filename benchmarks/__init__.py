"""Runs strategies x streams x seeds, and stores what was measured.

Everything is imported on first use, so that ``import forgetless.benchmarks`` costs next to nothing. Public names are
listed in ``__init__.pyi``, which type checkers read, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
