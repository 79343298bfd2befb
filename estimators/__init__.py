"""Strategies against forgetting, each an estimator with ``partial_fit``.

Everything is imported on first use. What there is, and from where, says ``__init__.pyi`` beside this file, which type
checkers read, too. It is the registry: adding a method is adding its file, and its line there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
