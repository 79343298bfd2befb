"""Runs strategies x streams x seeds, and stores what was measured.

Everything is imported on first use, so that ``import forgetless.benchmarks`` costs next to nothing. What there is, and
from where, says ``__init__.pyi`` beside this file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
