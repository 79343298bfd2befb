"""Guests: strategies of other libraries, in an environment of their own, which learn and predict by files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_is_fitted

from ...estimators.targets import learner_of

PROTOCOL = 1
SECONDS_TO_END = 5.0  # for a program that has closed its input or output

_KEEPS = ("nothing", "statistics", "features", "generator", "samples", "unknown")  # of the data
_LONGEST_LINE = 1_000_000
_MOST_BYTES = 2**63 - 1  # which the store can hold
_CLOCKS = 0.01  # seconds by which two clocks may differ


class GuestError(RuntimeError):
    """The program of a guest ended, or answered what is no answer."""


class Guest(BaseEstimator):
    """A strategy that another program is: experiences go out as files, predictions come in.

    Strategies that cannot be installed beside forgetless stand in its tables in this way, tested and scored like all
    others. The program runs in its own environment, with one thread, from the first call on until the estimator is
    gone. It reads requests from its standard input, each a JSON object on a line, and answers each by a JSON object on
    a line of its standard output:

    ``{"do": "start", "protocol": 1, "seed": 0, "settings": {...}}``
        Answer ``{}``, with ``"source"`` (what it is, with versions) and ``"keeps"`` (of the data: ``"nothing"``,
        ``"statistics"``, ``"features"``, ``"generator"`` or ``"samples"``) where they are known.
    ``{"do": "learn", "arrays": "....npz", "task_id": null}``
        The file has `X`, `y` and, for classification, `classes`: all of the stream. Answer ``{"seconds": 1.5,
        "memory": {"weights": 4000, "replay": 900}}``: what learning took, and the bytes that are kept until the next
        call by kind, with the names of ``memory_usage()``.
    ``{"do": "predict", "arrays": "....npz", "task_id": null, "answers": "....npz"}``
        The file has `X`. Write the array `predict` to the file ``answers``, and answer ``{"seconds": 0.1}``.

    Files are those of :func:`numpy.savez`, without pickle. ``task_id`` is a number where the stream tells the task.
    What the program writes to its standard error is shown if it fails.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    settings : mapping, default=None
        What the program is told at the start, such as the network that all strategies share.
    content : str, default=""
        What else identifies the program: cells in a store are those of this content. :meth:`from_command` takes a hash
        of the program's files.
    random_state : int, default=None
        The seed that the program is told.

    Examples
    --------
    >>> Guest.from_command("python3 no_such_program.py --strategy replay").command
    ('python3', 'no_such_program.py', '--strategy', 'replay')
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        content: str = "",
        random_state: int | None = None,
    ) -> None:
        self.command = command
        self.settings = settings
        self.content = content
        self.random_state = random_state

    @classmethod
    def from_command(cls, command: str, settings: Mapping[str, Any] | None = None) -> Self:
        """Make a guest of a command line.

        Parameters
        ----------
        command : str
            Divided into words as a shell does; nothing else of it is interpreted.
        settings : mapping, default=None

        Returns
        -------
        Guest

        Raises
        ------
        ValueError
            If it has no word, or a quotation without an end.
        """
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ValueError(f"The command {command!r} cannot be understood: {error}.") from None
        if not words:
            raise ValueError("The command of a guest is empty; give a program and its arguments.")
        named = [word if os.path.isfile(word) else word.partition("=")[2] for word in words[1:]]
        named = [words[0]] * _is_own(words[0]) + [word for word in named if os.path.isfile(word)]
        return cls(words, settings, " ".join(map(_digest, named)))

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Forget all, and learn in a new program.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        if hasattr(self, "program_"):
            del self.program_
        return self.partial_fit(X, y, np.unique(_plain(y)))

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, *, task_id: int | None = None
    ) -> Self:
        """Let the program learn an experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like, default=None
            All classes that will come.
        task_id : int, default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` is not numeric.
        GuestError
            If the program fails.
        """
        clock = time.perf_counter()
        if not hasattr(self, "program_"):
            self.outside_ = 0.0
            self.program_ = _Program(self.command, self.random_state, dict(self.settings or {}))
        arrays = {"X": _numbers(X), "y": _plain(y)}
        if classes is not None:
            arrays["classes"] = _plain(classes)
        answer, seconds = self.program_.ask("learn", arrays, task_id)
        memory = answer.get("memory")
        if not (isinstance(memory, dict) and memory and all(type(n) is int and n >= 0 for n in memory.values())):
            self.program_.refuse(f"gave as memory {memory!r:.100}, which are no bytes by kind")
        if sum(memory.values()) > _MOST_BYTES:
            self.program_.refuse(f"gave as memory {memory!r:.100}, which are more bytes than 64 bits can count")
        self.memory_ = dict(memory)
        self.outside_ += time.perf_counter() - clock - seconds
        return self

    def predict(self, X: ArrayLike, *, task_id: int | None = None) -> np.ndarray:
        """Let the program predict.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : int, default=None

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        GuestError
            If the program fails.
        """
        check_is_fitted(self, "program_")
        clock = time.perf_counter()
        answer, seconds = self.program_.ask("predict", {"X": _numbers(X)}, task_id)
        self.outside_ += time.perf_counter() - clock - seconds
        return np.asarray(answer["predict"])

    def memory_usage(self) -> dict[str, int]:
        """Return the bytes by kind that the program said it keeps."""
        check_is_fitted(self, "memory_")
        return dict(self.memory_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "program_")


def seconds_outside(estimator: Any) -> float:
    """Return the seconds in which a guest so far neither learned nor predicted: start, files, waiting for answers.

    Parameters
    ----------
    estimator : estimator
        Of any kind, also a pipeline that ends with a guest.

    Returns
    -------
    float
        0 for what is no guest.
    """
    return float(getattr(learner_of(estimator), "outside_", 0.0)) if is_guest(estimator) else 0.0


def is_guest(estimator: Any) -> bool:
    """Tell whether another program learns.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    bool
    """
    return isinstance(learner_of(estimator), Guest)


def said_by(estimator: Any) -> dict[str, str]:
    """Return what a guest says about itself.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    dict of str to str
        ``source`` and ``keeps``, or nothing.
    """
    program = getattr(learner_of(estimator), "program_", None) if is_guest(estimator) else None
    said = {} if program is None else program.about
    return {name: said[name] for name in ("source", "keeps") if isinstance(said.get(name), str)}


def _is_own(program: str) -> bool:
    """Tell a program that is named by its file from one that is installed, such as the Python of an environment."""
    path = Path(program)
    if path.name == program or not os.path.isfile(program):  # a bare name is looked for among what is installed
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!" or path.parent.name not in ("bin", "Scripts")


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Program:
    """A running program, and the folder in which files are exchanged; both go when nobody needs them."""

    def __init__(self, command: Sequence[str], seed: int | None, settings: dict[str, Any]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="forgetless-guest-")
        self.errors = Path(self.folder.name, "errors.txt")
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        # Where forgetless is found, the guest's environment has other packages.
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            with self.errors.open("wb") as errors:
                self.process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=inherited | one_thread,
                    text=True,
                    encoding="utf-8",
                )
        except OSError as error:
            raise GuestError(f"The program {command[0]!r} of a guest cannot be started: {error.strerror}.") from None
        weakref.finalize(self, _end, self.process, self.folder)
        self.about = self._answer({"do": "start", "protocol": PROTOCOL, "seed": seed, "settings": settings})
        keeps = self.about.get("keeps")
        if keeps is not None and keeps not in _KEEPS:
            self.refuse(f"said that it keeps {keeps!r:.50} of the data; give {', '.join(_KEEPS[:-1])} or {_KEEPS[-1]}")

    def __deepcopy__(self, memo: Any) -> _Program:
        return self  # a pipeline keeps a copy for the case that a call fails; after that, a program is of no use

    def ask(self, what: str, arrays: dict[str, np.ndarray], task_id: int | None) -> tuple[dict[str, Any], float]:
        """Ask for something about arrays; return the answer, and the seconds that it says it took."""
        request, answers = (Path(self.folder.name, f"{name}.npz") for name in ("request", "answers"))
        np.savez(request, allow_pickle=False, **arrays)
        asked = {"do": what, "arrays": str(request), "task_id": None if task_id is None else int(task_id)}
        clock = time.perf_counter()
        answer = self._answer(asked | ({"answers": str(answers)} if what == "predict" else {}))
        took = time.perf_counter() - clock
        seconds: Any = answer.get("seconds")
        if not (type(seconds) in (int, float) and 0 <= seconds <= took + _CLOCKS and math.isfinite(seconds)):
            self.refuse(f"said that {what} took {seconds!r:.50} seconds, of a call that took {took:.3g}")
        if what == "predict":
            try:
                with np.load(answers, allow_pickle=False) as found:
                    answer["predict"] = found["predict"]
            except Exception as error:  # numpy and zipfile have many ways to say that a file is none of theirs
                self.refuse(f"wrote no array 'predict' to the file it was told ({error})")
            answers.unlink()  # it is no answer to the next question
        return answer, min(float(seconds), took)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline(_LONGEST_LINE)
        except OSError:
            line = ""
        except UnicodeDecodeError:
            line = "what is no text"
        if not line:
            try:
                code = self.process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self.refuse("does not end, but has closed its standard input or output, where questions and answers go")
            said = self.errors.read_text("utf-8", "replace").split("\n")
            last = next((each.strip() for each in reversed(said) if each.strip()), "it wrote nothing on standard error")
            raise GuestError(f"The program of a guest ended with exit code {code}: {last}")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self.refuse(f"printed {line.strip()!r:.100}; all but its answers belongs on standard error")
        return answer

    def refuse(self, what: str) -> NoReturn:
        """Complain, and end the program, since nobody knows what its next answer would be about."""
        self.process.kill()
        raise GuestError(f"The program of a guest {what}.")


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was not read any more
                continue
    folder.cleanup()


def _numbers(X: Any) -> np.ndarray:
    try:
        return np.asarray(check_array(X, allow_nd=True))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"A guest gets arrays of numbers, and these are none ({error}); let preprocess = ['TableEncoder'] make "
            "them."
        ) from None


def _plain(y: Any) -> np.ndarray:
    """Return labels as an array that needs no pickle."""
    found = np.asarray(column_or_1d(y))
    found = np.array(found.tolist()) if found.dtype == object else found
    if found.dtype == object:
        raise ValueError("A guest gets labels that are numbers or texts, and these are neither.")
    return found
