"""Where data come from and what a stream of experiences is.

Everything is imported on first use; what there is says ``__init__.pyi``, which type checkers read, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
