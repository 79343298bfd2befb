"""What went wrong with which strategy, by which signs, and the one thing to change."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from . import formats
from .choice import paired_interval
from .metrics import Array
from .tables import (
    ResultTables,
    accuracy_matrices,
    block_scores,
    own_parameters,
    protocols,
    reference_roles,
    stored_object,
)

# Signs, as shares of all answers.
_COLLAPSED = 0.1  # at most so much is left of what came before the last experience
_LEARNED = 0.5  # at least so much is known of it: it was learned, then forgotten
_BIASED = 0.3  # so much better the last experience is known than those before
_FROZEN = 0.2  # so much less than plain training new experiences are learned
_KEPT = 0.1  # at most so much is forgotten of what was learned
_UNCLOSED = 0.7  # less than this part of the gap from plain to joint training is closed
_GAP = 0.05  # below it there is nothing to close
_FADED = 0.04  # so much less the last third of the experiences is learned than the first
_FEWEST_EXPERIENCES = 6  # of which thirds mean something

_STRENGTHS = (
    "ewc_lambda",
    "si_lambda",
    "mas_lambda",
    "rwalk_lambda",
    "strength",
    "alpha",
    "distance_weight",
    "memory_strength",
    "replay_weight",
)
_SIMPLE = {
    "NCMClassifier": "the nearest class mean",
    "LastLabelClassifier": "the last label",
    "MajorityClassifier": "the most frequent label",
    "LastValueRegressor": "the last value",
    "MeanRegressor": "the mean",
}


@dataclass(frozen=True)
class Diagnosis:
    """Something that went wrong with a strategy on a stream.

    Parameters
    ----------
    stream, strategy : str
        Names.
    problem : str
        What is wrong, in some words.
    evidence : str
        The numbers that show it, as a sentence.
    change : str
        The one thing to change, as a sentence.
    parameter : str
        Name of the parameter that is meant; empty if no parameter helps.

    Examples
    --------
    >>> Diagnosis("toy", "EWC", "diverged", "1 of 3 runs failed.", "Lower net__lr.", "net__lr").parameter
    'net__lr'
    """

    stream: str
    strategy: str
    problem: str
    evidence: str
    change: str
    parameter: str = ""


@dataclass(frozen=True)
class _Patient:
    """What is known of a strategy on a stream."""

    stream: str
    strategy: str
    runs: pd.DataFrame
    experiences: pd.DataFrame
    R: Array | None  # mean over seeds, of shape (T, T); None if past experiences are not tested
    course: Array  # score of each experience when it was new, of shape (seeds, T)
    scorer: str

    @functools.cached_property
    def family(self) -> str:
        return str(self.runs["family"].iloc[0])

    @functools.cached_property
    def scenario(self) -> str:
        return str(self.runs["scenario"].iloc[0])

    @functools.cached_property
    def params(self) -> Mapping[str, Any]:
        return own_parameters(self.runs["params"].iloc[0])

    @functools.cached_property
    def strength(self) -> str:
        """Name of the parameter that says how strongly old knowledge is held; empty if there is none."""
        known = _STRENGTHS if self.family in ("regularization", "distillation", "replay") else ()
        return next((name for name in known if isinstance(self.params.get(name), int | float)), "")

    @functools.cached_property
    def buffer_size(self) -> int | None:
        """How many rows are kept by a strategy that replays them."""
        size = self.params.get("buffer_size")
        return size if self.family == "replay" and isinstance(size, int) else None

    @functools.cached_property
    def n_rows(self) -> int:
        """How many rows a run learns."""
        return int(self.experiences["n_train"].sum() / max(self.runs["cell"].nunique(), 1))

    @functools.cached_property
    def old(self) -> float:
        """Mean score, in the end, on the experiences before the last."""
        return float("nan") if self.R is None or len(self.R) < 2 else float(self.R[-1, :-1].mean())

    @functools.cached_property
    def last(self) -> float:
        return float("nan") if self.R is None else float(self.R[-1, -1])

    @functools.cached_property
    def learned(self) -> float:
        """Mean score of experiences after the first, when they were new."""
        return float(np.diag(self.R)[1:].mean()) if self.R is not None and len(self.R) > 1 else float("nan")

    @functools.cached_property
    def forgotten(self) -> float:
        """How much less the experiences before the last are known in the end than when they were new."""
        return float((np.diag(self.R) - self.R[-1])[:-1].mean()) if self.R is not None and len(self.R) > 1 else math.nan

    def found(self, problem: str, evidence: str, change: str, parameter: str = "") -> Diagnosis:
        return Diagnosis(self.stream, self.strategy, problem, evidence, change, parameter)

    def percent(self, score: float) -> str:
        return f"{formats.score(score, self.scorer)} %"

    def points(self, difference: float) -> str:
        return f"{formats.score(difference, self.scorer)} points"


def diagnose(results: ResultTables) -> list[Diagnosis]:
    """Look for what usually goes wrong.

    Runs that diverged; regularisers that collapse where classes come one after the other; memories that are too small;
    recency bias; a strength that freezes learning; networks that lose their plasticity; strategies below the nearest
    class mean or the last label.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    list of Diagnosis
        By stream and strategy, in their order in the results. Signs of forgetting and learning are looked for where the
        score is an accuracy. Bounds (joint, cumulative and plain training) are compared with, not judged.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> results = example_results()
    >>> results.runs.loc[0, ["strategy", "status", "error"]] = ["EWC", "failed", "ValueError: the loss is not finite"]
    >>> for found in diagnose(results):
    ...     print(found.strategy, "|", found.problem, "|", found.evidence, "|", found.change)
    EWC | diverged | 1 of 1 runs failed: ValueError: the loss is not finite. | Lower the learning rate, net__lr.
    """
    found: list[Diagnosis] = []
    below = list(_below_simple(results))
    for stream, patients in _patients(results).items():
        roles = reference_roles(results, stream)
        plain = next((each for each in patients if roles.get(each.strategy) == "lower bound"), None)
        upper = [each for each in patients if roles.get(each.strategy) == "upper bound"]
        fading = {each.strategy: _fading(each) for each in patients}
        for patient in patients:
            found += _diverged(patient)
            causes: list[Diagnosis] = []
            if patient.family != "baselines":
                causes = [*_forgets(patient, patients, plain, upper), *_frozen(patient, plain)]
                found += causes or [
                    each for each in below if (each.stream, each.strategy) == (stream, patient.strategy)
                ]
            if not causes:
                found += _fades(patient, fading)
    return found


def _patients(results: ResultTables) -> dict[str, list[_Patient]]:
    matrices, of_stream = accuracy_matrices(results), protocols(results)
    experiences = dict(list(results.experiences.groupby(["stream", "strategy"], sort=False)))
    found: dict[str, list[_Patient]] = {}
    for (stream, strategy), runs in results.runs.groupby(["stream", "strategy"], sort=False):
        evaluate, scorer = of_stream[str(stream)]
        stack = matrices.get((str(stream), str(strategy)), np.empty((0, 0, 0)))
        ahead = evaluate == "prequential"  # an experience is new when those before it are learned
        course = np.diagonal(stack, offset=int(ahead), axis1=1, axis2=2)
        past_is_tested = evaluate in ("all", "seen") and stack.size and formats.in_percent(scorer)
        found.setdefault(str(stream), []).append(
            _Patient(
                stream=str(stream),
                strategy=str(strategy),
                runs=runs,
                experiences=experiences.get((stream, strategy), results.experiences.iloc[:0]),
                R=stack.mean(axis=0) if past_is_tested else None,
                course=course if formats.in_percent(scorer) else course[:, :0],
                scorer=scorer,
            )
        )
    return found


def _diverged(patient: _Patient) -> Iterator[Diagnosis]:
    failed = patient.runs[patient.runs["status"] == "failed"]
    errors = [str(error) for error in failed["error"]]
    diverged = [error for error in errors if "finite" in error or "diverge" in error]
    if diverged:
        said = f"{diverged[0].rstrip('.')}." if len(diverged[0]) <= 120 else f"{diverged[0][:120]}..."
        evidence = f"{len(diverged)} of {len(patient.runs)} runs failed: {said}"
        yield patient.found("diverged", evidence, "Lower the learning rate, net__lr.", "net__lr")


def _forgets(
    patient: _Patient, patients: list[_Patient], plain: _Patient | None, upper: list[_Patient]
) -> Iterator[Diagnosis]:
    """The first sign of forgetting that is seen: each later one is a weaker form of those before."""
    old, last = patient.old, patient.last
    known = f"in the end it knows {patient.percent(last)} of the last experience and {patient.percent(old)} of the rest"
    if patient.scenario == "class" and patient.family == "regularization" and old <= _COLLAPSED and last >= _LEARNED:
        yield patient.found(
            "collapse of a regulariser",
            f"Classes come one after the other, and {known}.",
            "No strength holds classes apart that never meet; take a strategy that keeps samples or statistics.",
        )
        return
    size = patient.buffer_size
    closed = _closed(patient, plain, upper)
    # Where another one closes the gap with as many rows, the memory is large enough.
    others = [each.strategy for each in patients if (each.buffer_size or np.inf) <= (size or 0) and each is not patient]
    better = [each for each in patients if each.strategy in others and _closed(each, plain, upper) >= _UNCLOSED]
    if size and size < patient.n_rows and closed < _UNCLOSED and patient.forgotten > _KEPT and not better:
        assert plain is not None
        yield patient.found(
            "memory too small",
            f"It holds {size:,} of {patient.n_rows:,} rows, closes {closed:.0%} of the gap between {plain.strategy} "
            f"and {_best(upper).strategy}, and forgets {patient.points(patient.forgotten)}.",
            f"Raise buffer_size, say to {2 * size:,}.",
            "buffer_size",
        )
    elif patient.scenario == "class" and last - old >= _BIASED:
        strength = patient.strength if patient.family == "distillation" else ""
        change = "Take a strategy that keeps samples or statistics of all classes."
        if better:
            change = "The memory is large enough, as others close the gap with no more rows; take another strategy."
        if strength:
            change = f"Raise {strength}, now {patient.params[strength]}; if that does not help, {_lower(change)}"
        yield patient.found("recency bias", f"It answers with the classes that came last: {known}.", change, strength)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _best(upper: list[_Patient]) -> _Patient:
    return max(upper, key=lambda each: _mean(each.R))


def _closed(patient: _Patient, plain: _Patient | None, upper: list[_Patient]) -> float:
    """Which part of the gap from plain to joint training is closed in the end; NaN where there is none to speak of."""
    if plain is None or not upper:
        return float("nan")
    gap = _mean(_best(upper).R) - _mean(plain.R)
    return (_mean(patient.R) - _mean(plain.R)) / gap if gap >= _GAP else float("nan")


def _mean(R: Array | None) -> float:
    """Average accuracy in the end."""
    return float("nan") if R is None else float(R[-1].mean())


def _frozen(patient: _Patient, plain: _Patient | None) -> Iterator[Diagnosis]:
    if plain is None or not patient.strength:
        return
    less = plain.learned - patient.learned
    if less >= _FROZEN and patient.forgotten <= _KEPT:
        yield patient.found(
            "strength that freezes learning",
            f"It learns new experiences to {patient.percent(patient.learned)}, {plain.strategy} to "
            f"{patient.percent(plain.learned)}, and forgets {patient.points(max(patient.forgotten, 0.0))}.",
            f"Lower {patient.strength}, now {patient.params[patient.strength]}, say to a tenth.",
            patient.strength,
        )


def _fading(patient: _Patient) -> tuple[float, float, float] | None:
    """By how much less the last third of the experiences is learned than the first, and the limits of that."""
    n_experiences = patient.course.shape[1]
    if n_experiences < _FEWEST_EXPERIENCES or patient.scenario != "domain":
        return None
    third = n_experiences // 3
    lost = patient.course[:, :third].mean(axis=1) - patient.course[:, -third:].mean(axis=1)
    mean, low, high, _ = paired_interval(lost[:, None], 0.95)
    return float(mean), float(low), float(high)


def _fades(patient: _Patient, fading: Mapping[str, tuple[float, float, float] | None]) -> Iterator[Diagnosis]:
    """Learning that fades while another strategy goes on learning the same experiences: they have not become harder."""
    mine = fading[patient.strategy]
    others = {name: each for name, each in fading.items() if each is not None and name != patient.strategy}
    if mine is None or not others:
        return
    steady = min(others, key=lambda name: others[name][2])
    lost, low, _ = mine
    kept, _, high = others[steady]
    if low > high and lost >= _FADED and lost - kept >= _FADED:  # false where the limits are not known
        signs = _signs(patient)
        yield patient.found(
            "loss of plasticity",
            f"It learns the last third of the experiences {patient.points(lost)} less well than the first; with "
            f"{steady} that is {patient.points(kept)}.{signs}",
            "Hold the weights near where they began: AnchoredClassifier with anchor='initial'.",
            "anchor",
        )


def _signs(patient: _Patient) -> str:
    """Dead units and rank in the beginning and the end, where they were measured."""
    measured = [_read(text) for text in patient.experiences["diagnostics"]]
    frame = pd.DataFrame(measured, index=patient.experiences["experience"].to_numpy())
    said = []
    for name, label in {"dead_units": "dead units", "effective_rank": "effective rank"}.items():
        if name in frame and frame[name].notna().any():
            course = frame[name].groupby(level=0).mean()
            show = "{:.0%}".format if name == "dead_units" else "{:.1f}".format
            said.append(f"{label} {show(course.iloc[0])} after the first, {show(course.iloc[-1])} after the last")
    return f" Of its network: {'; '.join(said)}." if said else ""


def _read(text: object) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in stored_object(text).items()}
    except (ValueError, TypeError):
        return {}


def _below_simple(results: ResultTables) -> Iterator[Diagnosis]:
    """Strategies that plain baselines beat, by pairs of equal seeds and blocks."""
    scores, of_stream = block_scores(results), protocols(results)
    about = results.runs.drop_duplicates(["stream", "strategy"])
    for stream, rows in scores.groupby("stream", sort=False):
        scorer, mine = of_stream[str(stream)][1], about[about["stream"] == stream]
        families = dict(zip(mine["strategy"], mine["family"], strict=True))
        simple = {
            name: _SIMPLE[estimator]
            for name, estimator in zip(mine["strategy"], mine["estimator"], strict=True)
            if estimator in _SIMPLE
        }
        wide = rows.pivot_table(index=["seed", "block"], columns="strategy", values="score", sort=False)
        for name in wide:
            if families[name] == "baselines" or name in simple:
                continue
            ahead = {baseline: _ahead(wide[baseline] - wide[name]) for baseline in simple if baseline in wide}
            shown = {baseline: each for baseline, each in ahead.items() if each[1] > 0}
            if shown:
                baseline = max(shown, key=lambda baseline: shown[baseline][0])
                mean, low, high = shown[baseline]
                size = formats.interval(mean, low, high, scorer) + " points" * formats.in_percent(scorer)
                yield Diagnosis(
                    str(stream),
                    str(name),
                    f"below {simple[baseline]}",
                    f"{baseline} scores {size} more ({wide.index.get_level_values('seed').nunique()} seeds).",
                    "Find out whether one experience is learned at all (net__max_epochs); if so, change the strategy.",
                    "net__max_epochs",
                )


def _ahead(differences: pd.Series) -> tuple[float, float, float]:
    """Mean and limits of differences by seed and block; limits are NaN for a single one."""
    pairs = differences.unstack("block").dropna(axis=1, how="all").dropna().to_numpy()  # noqa: PD010 - there is nothing to average
    if not len(pairs):
        return float("nan"), float("nan"), float("nan")
    mean, low, high, _ = paired_interval(pairs, 0.95)
    return float(mean), float(low), float(high)


def describe(found: Sequence[Diagnosis]) -> str:
    """Write diagnoses as text: by stream and problem, each with its evidence and what to change.

    Parameters
    ----------
    found : sequence of Diagnosis

    Returns
    -------
    str
        Of several lines; says so if nothing was found.

    Examples
    --------
    >>> one = Diagnosis("toy", "EWC", "diverged", "1 of 3 runs failed.", "Lower net__lr.", "net__lr")
    >>> print(describe([one]))
    toy
      diverged
        EWC: 1 of 3 runs failed.
        -> Lower net__lr.
    """
    if not found:
        return "No sign of what usually goes wrong was found."
    lines: list[str] = []
    for stream in dict.fromkeys(each.stream for each in found):
        lines.append(formats.plain(stream))
        mine = [each for each in found if each.stream == stream]
        for problem, change in dict.fromkeys((each.problem, each.change) for each in mine):
            same = [each for each in mine if (each.problem, each.change) == (problem, change)]
            lines += [f"  {problem}", *(f"    {formats.plain(f'{each.strategy}: {each.evidence}')}" for each in same)]
            lines.append(f"    -> {formats.plain(change)}")
    return "\n".join(lines)
