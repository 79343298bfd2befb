"""Downloads that end: never more bytes than were published, never longer than a slow connection needs."""

import gzip
import hashlib
import io
import os
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.request import urlopen

TIMEOUT = 30.0
"""Seconds without a response before the next mirror is tried."""

SLOWEST = 100_000
"""Published bytes per second below which a mirror is given up."""


@dataclass(frozen=True)
class Source:
    """Files that were published together.

    Parameters
    ----------
    title : str
        What the files are, for messages.
    folder : str
        Name of their folder in `data_home`.
    mirrors : tuple of str
        Addresses that have the files, best first; each ends with a slash.
    files : dict
        For the name of each file: checksum and size, as for :func:`unpack`.
    """

    title: str
    folder: str
    mirrors: tuple[str, ...]
    files: dict[str, tuple[str, int]]

    def read(self, data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> list[bytes]:
        """Return the verified content of the files, in their order; what the folder lacks is downloaded into it.

        Parameters
        ----------
        data_home : str or path-like, default=None
            The parent of the folder; by default scikit-learn's data folder.
        download_if_missing : bool, default=True
            If False, missing files are an error, and no connection is made.

        Returns
        -------
        list of bytes
            What :func:`unpack` makes of each file. A file whose name ends with ``.gz`` is found without it, too.

        Raises
        ------
        OSError
            If a file is missing and cannot be downloaded, or is damaged.
        """
        if data_home is None:
            from sklearn.datasets import get_data_home

            data_home = get_data_home()
        folder = Path(data_home).expanduser() / self.folder
        return [self._content(folder, name, download_if_missing) for name in self.files]

    def _content(self, folder: Path, name: str, download_if_missing: bool) -> bytes:
        for path in (folder / name, folder / name.removesuffix(".gz")):
            if path.is_file():
                try:
                    return unpack(path.read_bytes(), *self.files[name])
                except ValueError as error:
                    raise OSError(f"{path} is damaged: {error}. Delete it, so that it is downloaded again.") from error
        by_hand = f"Put {', '.join(self.files)} from {self.mirrors[0]} into {folder.absolute()}."
        if not download_if_missing:
            raise OSError(f"{self.title} is incomplete: {name} is missing. {by_hand}")
        try:
            return fetch((mirror + name for mirror in self.mirrors), folder / name, *self.files[name])
        except OSError as error:
            raise OSError(f"{error} {by_hand}") from error


def fetch(urls: Iterable[str], path: Path, checksum: str, n_bytes: int) -> bytes:
    """Download a file from the first mirror that has it intact, and return its verified content.

    A mirror that sends other data, more than was published, or too slowly is given up, and the next one is tried. The
    file appears under its name only when it is complete and verified.

    Parameters
    ----------
    urls : iterable of str
        Where the file is, best first.
    path : Path
        Where it is stored, as it was sent. Its folder is made if need be.
    checksum, n_bytes
        As for :func:`unpack`.

    Returns
    -------
    bytes
        What :func:`unpack` makes of the file.

    Raises
    ------
    OSError
        If no mirror has it; the message says for each what was wrong.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for url in urls:
        try:
            packed = _within(TIMEOUT + n_bytes / SLOWEST, partial(_received, url, path.name, n_bytes))
            content = unpack(packed, checksum, n_bytes)
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"{url}: {error}")
            continue
        # A temporary folder beside the target: removed whatever happens, and the final rename is atomic.
        with TemporaryDirectory(prefix=f"{path.name}.part-", dir=path.parent) as temporary:
            part = Path(temporary) / path.name
            part.write_bytes(packed)
            part.replace(path)
        return content
    raise OSError(f"Could not download {path.name} ({'; '.join(problems)}).")


def unpack(packed: bytes, checksum: str, n_bytes: int) -> bytes:
    """Verify the content of a file, after unpacking it if only then it is what was published.

    Parameters
    ----------
    packed : bytes
        The file, compressed by gzip or not.
    checksum : str
        Name of the hash function and published digest of the content, such as ``"sha256:2c26b4..."``. A digest of the
        compressed file itself, as archives have one, is accepted, too; then the file is the content.
    n_bytes : int
        Published size of the content; no more is unpacked.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ValueError
        If the content is damaged.

    Examples
    --------
    >>> unpack(gzip.compress(b"foo"), "md5:acbd18db4cc2f85cedef654fccc4a4d8", n_bytes=3)
    b'foo'
    """
    algorithm, _, published = checksum.partition(":")

    def digest(content: bytes) -> str:
        return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()

    content, found = packed, digest(packed)
    if found != published and packed.startswith(b"\x1f\x8b"):
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(n_bytes + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"it cannot be unpacked ({error})") from error
        if len(content) > n_bytes:
            raise ValueError(f"it unpacks to more than the published {n_bytes} bytes")
        found = digest(content)
    if found != published:
        raise ValueError(f"the {algorithm} of its content is {found}, expected {published}")
    return content


def _received(url: str, name: str, n_bytes: int, end: float) -> bytes:
    from tqdm.auto import tqdm

    most = n_bytes + n_bytes // 100 + 1024  # what cannot be compressed grows by its headers
    received = bytearray()
    with urlopen(url, timeout=TIMEOUT) as response:
        total = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024) as progress:
            # read1 returns what has come; read would wait for all of it, however slowly it comes.
            while chunk := response.read1(1 << 16):
                received += chunk
                progress.update(len(chunk))
                if len(received) > most:
                    raise ValueError(f"it sends more than the published {n_bytes} bytes")
                if time.monotonic() > end:
                    raise TimeoutError("it is too slow")
    if total is not None and len(received) < total:
        raise ValueError(f"it breaks off after {len(received)} of {total} bytes")
    return bytes(received)


def _within(seconds: float, work: Callable[[float], bytes]) -> bytes:
    """Do work that is told when to end, and leave it alone if it does not: headers may come slowly, too."""
    outcome: Future[bytes] = Future()
    end = time.monotonic() + seconds

    def run() -> None:
        try:
            outcome.set_result(work(end))
        except BaseException as error:  # to be raised where it is waited for
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or "it is too slow") from None
