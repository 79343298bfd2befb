"""torch's compiler, which nothing here uses: torch imports it in order to keep it away from some functions."""

import sys
from collections.abc import Callable
from typing import Any

# Where torch looks for what it made of a function when that was called before.
_KEPT = "__dynamo_disable"


def without_compiler(kept: Callable[..., Any]) -> None:
    """Let a function that torch keeps its compiler away from do without the compiler, as long as nobody imports it.

    Else the first optimiser of a process takes 800 modules, two seconds and 65 MB.

    Parameters
    ----------
    kept : callable
        As torch has made it; anything else stays as it is.

    Examples
    --------
    >>> from torch.optim import Optimizer
    >>> without_compiler(Optimizer.add_param_group)
    """
    function = vars(kept).get("__wrapped__")
    if function is None:
        return

    def run(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        vars(function).pop(_KEPT, None)  # from now on torch's own
        return kept(*args, **kwargs)

    vars(function)[_KEPT] = run
