"""The ledger: the cells that claims need, and what was measured, from a store, compared with what was published."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import Claim, ClaimError, Number

# Everything heavy is imported where it is used, so that the list of claims is there at once.
if TYPE_CHECKING:
    import pandas as pd

    from ..runs.cell import Cell
    from ..store import Store


def plan(
    claims: Iterable[Claim], seeds: int, record: pd.DataFrame, data_home: str | None = None
) -> tuple[list[Cell], list[Cell]]:
    """List the cells that claims need, each once, ordered by seed: a run that is stopped has fewer seeds of all claims.

    Seeds of small networks are trained as one stack, where that pays.

    Parameters
    ----------
    claims, data_home
        As for :func:`cells_of`.
    seeds : int
        How many; a claim that takes more to be judged has more.
    record : DataFrame
        From :func:`read_record`.

    Returns
    -------
    needed : list of Cell
    missing : list of Cell
        Those of which something that the claims need is not recorded.
    """
    pairs = [
        (claim.name, cell)
        for claim in claims
        for cell in cells_of([claim], max(seeds, claim.seeds), data_home)[claim.name]
    ]
    needed = sorted({cell.key: cell for _, cell in pairs}.values(), key=lambda cell: cell.seed)
    recorded = set(zip(record["claim"], record["cell"], strict=True))
    missing = {cell.key for name, cell in pairs if (name, cell.key) not in recorded}
    return needed, [cell for cell in needed if cell.key in missing]


def cells_of(
    claims: Iterable[Claim], seeds: int | Sequence[int], data_home: str | None = None
) -> dict[str, list[Cell]]:
    """List the cells of each claim; data are loaded, nothing is learned.

    Parameters
    ----------
    claims : iterable of Claim
    seeds : int or sequence of int
        Seeds, or how many.
    data_home : str, default=None
        Folder of downloaded data.

    Returns
    -------
    dict of str to list of Cell
        By name of the claim; a cell for each seed.

    Raises
    ------
    ValueError
        If a strategy does not exist or has no such parameter.
    OSError
        If data are missing.
    """
    from ..runs.runner import plan_cells

    return {
        claim.name: plan_cells(
            {f"{claim.key}/{claim.method.name}": claim.strategy_spec()},
            {f"{claim.key}/{claim.number.stream}": claim.stream_spec(data_home)},
            seeds=seeds,
            device="cpu",
            stack_seeds="auto",
            protocol=claim.protocol(),
        )
        for claim in claims
    }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was measured for a claim; accuracies in percent.

    Parameters
    ----------
    claim : Claim
    n_seeds : int
        Number of runs that finished.
    mean, low, high : float
        Mean over them and the ends of its 95 % confidence interval (Student's t); NaN where unknown.
    error : str, default=""
        What failed runs say.
    versions : str, default=""
        Versions of Python and the packages, as JSON.
    """

    claim: Claim
    n_seeds: int = 0
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    error: str = ""
    versions: str = ""

    @property
    def verdict(self) -> str:
        """One of "pass", "fail", "error" (a run failed), "not enough seeds" (for a verdict) and "not run"."""
        if self.error:
            return "error"
        if not self.n_seeds:
            return "not run"
        if self.n_seeds < self.claim.seeds:
            return "not enough seeds"
        low, high = self.claim.bounds
        return "pass" if low <= self.mean <= high else "fail"

    @property
    def holds(self) -> bool:
        """Whether it passes, or fails for a reason that the claim notes."""
        return self.verdict == "pass" or (self.verdict == "fail" and bool(self.claim.note))

    @property
    def measured(self) -> str:
        """The mean with the half-width of its confidence interval, as text."""
        from ...reports.formats import interval

        return interval(self.mean / 100, self.low / 100, self.high / 100)


RECORD_COLUMNS = ["claim", "seed", "accuracy", "cell", "versions"]


def read_record(path: Path) -> pd.DataFrame:
    """Read what was measured before, on any machine.

    Parameters
    ----------
    path : Path
        A CSV file, as ``forgetless verify`` writes it; if it is not there, nothing was measured.

    Returns
    -------
    DataFrame
        Columns claim, seed, accuracy (from 0 to 1, or a difference of two), cell (the key of the run: other settings,
        data or definitions have another one), versions (as JSON).

    Raises
    ------
    ClaimError
        If it is no such file.
    """
    import pandas as pd

    if not path.exists():
        return pd.DataFrame(columns=RECORD_COLUMNS)
    try:
        record = pd.read_csv(path)
        if list(record.columns) != RECORD_COLUMNS or not record["accuracy"].between(-1, 1).all():
            raise ValueError(f"it needs the columns {', '.join(RECORD_COLUMNS)}, and accuracies up to 1")
    except ValueError as error:
        raise ClaimError(f"{str(path)!r} is no record of runs: {error}.") from None
    return record


def measured(
    claims: Iterable[Claim], store: Store, record: pd.DataFrame, data_home: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List the runs of claims that finished, in a store or recorded before, and those that failed.

    Parameters
    ----------
    claims : iterable of Claim
    store : Store
    record : DataFrame
        From :func:`read_record`; what is recorded of other definitions than today's is left out.
    data_home : str, default=None
        Folder of downloaded data: they are part of what identifies a run.

    Returns
    -------
    finished : DataFrame
        As `record`, in the order of claims and seeds.
    failed : DataFrame
        Columns claim and error.
    """
    import pandas as pd

    from ...reports import cell_metrics

    claims = list(claims)
    results = store.results()
    runs = results.runs.set_index("cell")
    average = cell_metrics(results).set_index("cell")["average_accuracy"]
    online = results.scores[results.scores["metric"] == "accuracy"].set_index(["cell", "tested_on"])["score"]
    # Records that were put together may have a run twice.
    known = record.drop_duplicates(["claim", "cell"], keep="last").set_index(["claim", "cell"])
    seeds = sorted({*runs["seed"].tolist(), *record["seed"].tolist()}) or [0]
    cells = cells_of(claims, seeds, data_home)
    finished, failed = [], []
    for claim in claims:
        name, number = claim.name, claim.number
        for cell in cells[name]:
            status = runs["status"].get(cell.key)
            row = {"claim": name, "seed": cell.seed, "cell": cell.key}
            if status == "ok":
                accuracy = average[cell.key] if number.experiences is None else _online(online[cell.key], number)
                finished.append(row | {"accuracy": accuracy, "versions": runs.at[cell.key, "versions"]})
            elif (name, cell.key) in known.index:
                before = {column: known.at[(name, cell.key), column] for column in ("accuracy", "versions")}
                finished.append(row | before)
            elif status:
                failed.append({"claim": name, "error": runs.at[cell.key, "error"]})
    return pd.DataFrame(finished, columns=RECORD_COLUMNS), pd.DataFrame(failed, columns=["claim", "error"])


def _online(scores: pd.Series, number: Number) -> float:
    """The mean over some experiences, by their numbers, or by how much it is more than over others."""
    spans = (number.experiences, number.since)
    after, before = (0.0 if span is None else scores.loc[slice(*span)].mean() for span in spans)
    return float(after - before)


def outcomes(claims: Iterable[Claim], finished: pd.DataFrame, failed: pd.DataFrame) -> list[Outcome]:
    """Compare claims with what was measured, all seeds.

    Parameters
    ----------
    claims : iterable of Claim
    finished, failed : DataFrame
        From :func:`measured`.

    Returns
    -------
    list of Outcome
    """
    from ...reports.tables import student_interval

    found = []
    for claim in claims:
        done = finished[finished["claim"] == claim.name]
        errors = failed.loc[failed["claim"] == claim.name, "error"].dropna().unique()
        outcome = Outcome(claim, len(done), error="; ".join(errors))
        if len(done):
            mean, _, low, high = (float(value) for value in student_interval(100 * done["accuracy"].to_numpy()))
            outcome = dataclasses.replace(outcome, mean=mean, low=low, high=high, versions=done["versions"].max())
        found.append(outcome)
    return found
