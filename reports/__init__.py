"""Metrics, tables and pages made from stored results; every number here is derived, none is measured.

Results are any object with four DataFrames, ``runs``, ``experiences``, ``scores`` and ``evaluations``: see
`ResultTables`. Everything is imported on first use, pandas and matplotlib only when a report is made; what there is
says ``__init__.pyi``, which type checkers read, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
