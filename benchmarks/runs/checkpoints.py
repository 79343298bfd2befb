"""Checkpoints: a cell that takes long keeps its state on the disk, and goes on from there after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import os
import pickle
import secrets
import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cloudpickle

from .measuring import versions

if TYPE_CHECKING:  # workers need no database
    from ..store import Store

AFTER = 60.0  # seconds without a checkpoint, after which the end of an experience makes one
_DIGEST = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """A folder of states, each signed: what this user did not write is not loaded, since loading runs code.

    Parameters
    ----------
    folder : Path
        Made when it is needed.
    secret : bytes
        What states are signed with.
    after : float
        Seconds between two checkpoints of a cell.
    """

    folder: Path
    secret: bytes = dataclasses.field(repr=False)
    after: float

    def save(self, keys: Sequence[str], state: Any) -> None:
        """Keep the state of cells, all of it or nothing. Where that cannot be, the cells go on without.

        Parameters
        ----------
        keys : sequence of str
            One, or those of a stack.
        state : object
        """
        path = self._path(keys)
        part = path.with_suffix(".part")
        with contextlib.suppress(Exception):  # a full disk; a guest that cannot be pickled
            self.folder.mkdir(mode=0o700, exist_ok=True)  # memories of rows are in it
            with part.open("wb") as file:
                signed = _Signed(file, self._signature(path))
                file.write(bytes(_DIGEST))
                cloudpickle.dump((versions(), state), signed, protocol=pickle.HIGHEST_PROTOCOL)
                file.seek(0)
                file.write(signed.signature.digest())
            part.replace(path)

    def load(self, keys: Sequence[str]) -> Any:
        """Return the state of cells, None if there is none that this user wrote with the packages of today.

        Parameters
        ----------
        keys : sequence of str

        Returns
        -------
        object or None
        """
        path = self._path(keys)
        try:
            content = memoryview(path.read_bytes())
            signature = self._signature(path)
            signature.update(content[_DIGEST:])
            if not hmac.compare_digest(signature.digest(), content[:_DIGEST]):
                return None
            written_with, state = pickle.loads(content[_DIGEST:])
        except Exception:  # there is none, or a class is no longer what it was
            return None
        return state if written_with == versions() else None

    def remove(self, finished: Collection[str]) -> None:
        """Remove what was kept of cells, and the folder with the last.

        Parameters
        ----------
        finished : collection of str
            Keys of cells.
        """
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name[:64] in finished:
                    path.unlink(missing_ok=True)
            self.folder.rmdir()

    def _path(self, keys: Sequence[str]) -> Path:
        stack = f"-{hashlib.sha256(''.join(keys).encode()).hexdigest()[:16]}" if len(keys) > 1 else ""
        return self.folder / f"{keys[0]}{stack}.checkpoint"

    def _signature(self, path: Path) -> hmac.HMAC:
        return hmac.new(self.secret, path.name.encode(), hashlib.sha256)


class _Signed:
    """A file that signs what is written to it."""

    def __init__(self, file: BinaryIO, signature: hmac.HMAC) -> None:
        self.file = file
        self.signature = signature

    def write(self, data: Any) -> int:
        self.signature.update(data)
        return self.file.write(data)


def checkpoints_for(store: Store, folder: str | os.PathLike[str] | None) -> Checkpoints | None:
    """Say where the cells of a store keep their states.

    Parameters
    ----------
    store : Store
    folder : str, path-like or None
        Where the user wants them. ``None``: beside the store if that is a file, else nowhere.

    Returns
    -------
    Checkpoints or None

    Raises
    ------
    OSError
        If the folder that the user wants cannot be there.
    """
    if folder is None:
        if store.file is None:
            return None
        place = store.file.with_name(f"{store.file.name}-checkpoints")
    else:
        place = Path(folder)
        place.mkdir(mode=0o700, exist_ok=True)
    try:
        secret = _secret()
    except (OSError, RuntimeError) as error:
        warnings.warn(f"Cells keep no checkpoints, since there is no place for the user's key: {error}.", stacklevel=3)
        return None
    return Checkpoints(place.absolute(), secret, AFTER)


def _secret() -> bytes:
    """Return what only this user knows, made at the first time; it never lies beside what it signs."""
    state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state_home / "forgetless" / "checkpoints.key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as new:  # which only its owner can read
            new.write(secrets.token_bytes(_DIGEST))
            new.flush()
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(new.name, path)
    return path.read_bytes()
