"""Files that something is written to, and those that must not be."""

from __future__ import annotations

import os
from pathlib import Path


def file_of_store(path_or_url: str) -> Path | None:
    """Tell which file a store is, whether it is there or not.

    Parameters
    ----------
    path_or_url : str
        As for :class:`~forgetless.benchmarks.Store`.

    Returns
    -------
    Path or None
        ``None`` where it is no file, or cannot be a store.

    Examples
    --------
    >>> str(file_of_store("sqlite:///results.db"))
    'results.db'
    """
    name = path_or_url
    if "://" in path_or_url:
        import sqlalchemy as sa  # takes a while, and files seldom have URLs

        try:
            url = sa.make_url(path_or_url)
        except (sa.exc.SQLAlchemyError, ValueError):
            return None
        name = url.database or "" if url.get_backend_name() == "sqlite" else ""
    return Path(name) if name not in ("", ":memory:") else None


def is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Tell whether two paths lead to one file, by links of any kind; it need not be there.

    Parameters
    ----------
    one, other : path-like

    Returns
    -------
    bool

    Examples
    --------
    >>> is_same_file("results.db", "../" + os.path.basename(os.getcwd()) + "/results.db")
    True
    """
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return os.path.realpath(one) == os.path.realpath(other)
