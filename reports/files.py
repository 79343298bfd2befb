"""Files and folders that are replaced only by complete ones."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
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


MANIFEST = "forgetless-site.txt"
"""The file that says which files of a folder `replace_folder` wrote."""
_MANIFEST_HEAD = "forgetless wrote these files, and replaces the folder only where it has no others."


def replace_folder(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Write a folder beside another, and put it in its place when it is complete.

    What is replaced must be empty or have nothing but what this function wrote, which its `MANIFEST` lists.

    Parameters
    ----------
    path : path-like
        A folder that is there is replaced; a link to one stays, and what it leads to is replaced.
    write : callable
        Is called with an empty folder to write to.

    Raises
    ------
    FileNotFoundError
        If the folder that it is in does not exist.
    ValueError
        If something of somebody else is there.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "notes"
    ...     replace_folder(path, lambda new: (new / "note.txt").write_text("all of it", encoding="utf-8"))
    ...     (path / "note.txt").read_text(encoding="utf-8"), len(os.listdir(folder))
    ('all of it', 1)
    """
    path = Path(path).resolve()
    check_folder(path)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        new, old = Path(beside) / "new", Path(f"{beside}.old")
        new.mkdir()
        write(new)
        listed = "\n".join([_MANIFEST_HEAD, "", *sorted(_files(new)), ""])
        (new / MANIFEST).write_text(listed, encoding="utf-8", newline="\n")
        try:
            if path.exists():
                os.rename(path, old)
                _check_ours(old, path)  # again: somebody may have put something there meanwhile
            os.rename(new, path)
        except BaseException:
            if old.exists():
                os.rename(old, path)
            raise
        if old.exists():
            shutil.rmtree(old)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Find out whether `replace_folder` may write here.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    FileNotFoundError
        If the folder that it is in does not exist.
    ValueError
        If something of somebody else is there.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "mine.txt").write_text("mine")
    ...     check_folder(folder)
    Traceback (most recent call last):
    ...
    ValueError: The folder ... has files that are not of a site, such as 'mine.txt'; choose another ...
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it or choose another path.")
    if path in (here := Path.cwd(), *here.parents):
        raise ValueError(f"This runs in {here}, which would be replaced: choose another folder, or run it elsewhere.")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; choose another name for the folder.")
    if path.exists():
        _check_ours(path, path)


def _check_ours(folder: Path, name: Path) -> None:
    manifest = folder / MANIFEST
    try:
        head, _, *listed = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else ("", "")
    except (ValueError, OSError):
        head, listed = "", []
    known = {MANIFEST, *listed} if head == _MANIFEST_HEAD else set()
    other = next((file for file in _files(folder) if file not in known), None)
    if other is not None:
        raise ValueError(
            f"The folder {name} has files that are not of a site, such as {other!r}; choose another folder, or move "
            "them away: it is replaced as a whole."
        )


def _files(folder: Path) -> Iterator[str]:
    """List what is in a folder: files, links, and folders where they are empty."""
    for each in folder.rglob("*"):
        if each.is_symlink() or not each.is_dir() or not any(each.iterdir()):
            yield each.relative_to(folder).as_posix()
