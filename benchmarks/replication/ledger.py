"""The ledger: the cells that claims need, and what was measured, from a store, compared with what was published."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import Claim, ClaimError

# Everything heavy is imported where it is used, so that the list of claims is there at once.
if TYPE_CHECKING:
    import pandas as pd

    from ..runs.cell import Cell
    from ..store import Store


def plan(claims: Iterable[Claim], seeds: int, data_home: str | None = None) -> list[Cell]:
    """List the cells that claims need, each once, ordered by seed: a run that is stopped has fewer seeds of all claims.

    Parameters
    ----------
    claims, data_home
        As for :func:`cells_of`.
    seeds : int
        How many; a claim that takes more to be judged has more.

    Returns
    -------
    list of Cell
    """
    cells = [cell for claim in claims for cell in cells_of([claim], max(seeds, claim.seeds), data_home)[claim.name]]
    return sorted({cell.key: cell for cell in cells}.values(), key=lambda cell: cell.seed)


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
        Columns claim, seed, accuracy (from 0 to 1), cell (the key of the run: other settings, data or definitions have
        another one), versions (as JSON).

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
        if list(record.columns) != RECORD_COLUMNS or not record["accuracy"].between(0, 1).all():
            raise ValueError(f"it needs the columns {', '.join(RECORD_COLUMNS)}, and accuracies from 0 to 1")
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

    results = store.results()
    runs = results.runs.assign(accuracy=cell_metrics(results)["average_accuracy"]).set_index("cell")
    seeds = sorted({*runs["seed"].tolist(), *record["seed"].tolist()}) or [0]
    keys = {cell.key: (name, cell.seed) for name, cells in cells_of(claims, seeds, data_home).items() for cell in cells}
    runs = runs.loc[runs.index.intersection(list(keys))].reset_index()
    runs["claim"] = [keys[key][0] for key in runs["cell"]]
    done = runs.loc[runs["status"] == "ok", RECORD_COLUMNS]
    known = record[record["cell"].isin(list(keys))]
    finished = pd.concat([known[~known["cell"].isin(done["cell"])], done]) if len(known) else done
    order = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in keys.values()))}
    finished = finished.assign(place=finished["claim"].map(order)).sort_values(["place", "seed"])
    return finished[RECORD_COLUMNS].reset_index(drop=True), runs.loc[runs["status"] != "ok", ["claim", "error"]]


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
