"""Files that are replaced only by complete ones."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Write a file beside another, and put it in its place when it is complete.

    Parameters
    ----------
    path : path-like
        An existing file is replaced.
    write : callable
        Is called with the path to write to.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "note.txt"
    ...     replace_file(path, lambda new: new.write_text("all of it", encoding="utf-8"))
    ...     path.read_text(encoding="utf-8"), len(os.listdir(folder))
    ('all of it', 1)
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it or choose another path.")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        new = Path(folder) / path.name
        write(new)
        os.replace(new, path)
