"""Which strategies there are, read from the package's list without importing any of them."""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

# A folder for each family of methods; the name is the one that `strategy_info` gives.
FAMILIES = ("baselines", "regularization", "replay", "distillation", "isolation", "plasticity", "analytic", "meta")


@cache
def strategy_modules() -> dict[str, str]:
    """Return the module of every strategy, by the name of its class; nothing is imported.

    Returns
    -------
    dict of str to str
        Relative to this package, such as ``".replay.der"``.

    Examples
    --------
    >>> strategy_modules()["DERClassifier"]
    '.replay.der'
    """
    stub = ast.parse(Path(__file__).with_name("__init__.pyi").read_text("utf-8"))
    imports = [line for line in stub.body if isinstance(line, ast.ImportFrom) and line.module]
    return {
        alias.name: f".{line.module}"
        for family in FAMILIES
        for line in imports
        if line.module and line.module.split(".")[0] == family
        for alias in line.names
        if alias.name[0].isupper()  # classes; beside them there may be functions that make them
    }


def all_estimators() -> list[tuple[str, type]]:
    """Name and class of every strategy, as ``sklearn.utils.all_estimators`` lists scikit-learn's.

    Returns
    -------
    list of (str, type)
        Sorted by name.

    Examples
    --------
    >>> "NaiveClassifier" in dict(all_estimators())
    True
    """
    modules = strategy_modules()
    return [(name, getattr(import_module(modules[name], __package__), name)) for name in sorted(modules)]
