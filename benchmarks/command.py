"""The command ``forgetless``: the one place that knows estimators, data, benchmarks and reports."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .runs.specs import LONGEST_TIME_LIMIT, MOST_SEEDS, TIME_LIMIT

# Everything heavy is imported where it is used, so that `--help` and `list` answer at once.
if TYPE_CHECKING:
    from ..reports import ResultTables
    from .results import Results
    from .runs.suites import Suite

app = typer.Typer(
    help="Learn new data without forgetting the old, and find out which way of not forgetting is worth its price.",
    epilog="Start with: forgetless run quick",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

BAD_INPUT, FAILED, STOPPED = 2, 1, 130
LONGEST = 2_000  # characters of a message
MOST_JOBS = 1_000  # processes are started before there is work for them


class TargetKind(StrEnum):
    """What is predicted: labels of classes, or numbers."""

    classification = "classification"
    regression = "regression"


class Format(StrEnum):
    """How a leaderboard is printed."""

    text = "text"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    html = "html"
    parquet = "parquet"


class Matched(StrEnum):
    """What is equal in a leaderboard."""

    memory = "memory"
    compute = "compute"


class Kind(StrEnum):
    """What can be listed."""

    strategies = "strategies"
    streams = "streams"
    suites = "suites"
    datasets = "datasets"


def main() -> None:
    """Run the command: exit code 0 if all went well, 1 if something failed, 2 for bad input, 130 after a stop."""
    warnings.showwarning = lambda message, *_: _say(message)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does with letters that it lacks
    code = None
    try:
        code = typer.main.get_command(app).main(prog_name="forgetless", standalone_mode=False)
        print(end="", flush=True)
    except OSError as error:
        if not (code or isinstance(error, BrokenPipeError)):  # it is said already, or who reads has enough
            _say(_sentence(error))
        with contextlib.suppress(OSError):  # else what is left would be written at the end, and fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or FAILED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer says about wrong options
            raise
        _say(error.format_message().replace("Value error, ", ""))  # the words of the library below typer
        code = BAD_INPUT
    gc.freeze()  # the system takes all back at once; Python would search it for garbage first
    sys.exit(code)


def _say(message: object) -> None:
    """Print a line on standard error, cut if it has no end; characters that control a terminal are shown, not sent."""
    text = " ".join(str(message).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    print("forgetless:", "".join(c if c.isprintable() else repr(c)[1:-1] for c in text), file=sys.stderr)


@contextlib.contextmanager
def _exit_on(code: int, *errors: type[BaseException]) -> Iterator[None]:
    """Turn errors that are not the program's fault into a sentence and an exit code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        _say(str(stop) or "Stopped.")
        raise typer.Exit(STOPPED) from None
    except BrokenPipeError:
        raise
    except errors as error:
        _say(_sentence(error))
        raise typer.Exit(code) from None


def _sentence(error: BaseException) -> str:
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is not None:
        return f"{error.strerror}: {str(error.filename)!r}."
    return "The current folder is gone." if isinstance(error, FileNotFoundError) else f"{error.strerror}."


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print("forgetless", __version__)
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


StoreArgument = Annotated[str, typer.Argument(help="File or URL of the store.", show_default=False)]
MatchedOption = Annotated[
    Matched | None, typer.Option(help="Only runs that share a budget: of bytes carried, or of seconds of fit.")
]
BudgetOption = Annotated[
    float | None,
    typer.Option(help="With --matched: the bytes or seconds; strategies that took no more come, too."),
]
DrawingJobs = Annotated[
    int, typer.Option("--n-jobs", max=MOST_JOBS, help="Figures that are drawn in parallel; -1: one per core.")
]


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A name from `list suites`, or a TOML file.", show_default=False)],
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Only these, separated by commas; others than the suite's by name or import path, such as "
            "mymodule.MyClass in the current folder."
        ),
    ] = None,
    guest: Annotated[
        list[str] | None,
        typer.Option(
            help="A program that is a strategy, as NAME=COMMAND, beside those of the suite; may be repeated. The "
            "command runs as it is: see docs/guests.md."
        ),
    ] = None,
    streams: Annotated[str | None, typer.Option(help="Only these streams of the suite, separated by commas.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=MOST_SEEDS, help="Number of seeds.  [default: the suite's]")
    ] = None,
    n_jobs: Annotated[int, typer.Option(max=MOST_JOBS, help="Cells that run in parallel; -1: one per core.")] = -1,
    device: Annotated[
        str,
        typer.Option(
            help="Where networks compute: cpu, cuda (all GPUs), cuda:1 (only that one), mps; auto: on a GPU if there "
            "is one."
        ),
    ] = "auto",
    data_home: Annotated[
        Path | None, typer.Option(help="Folder of downloaded data.  [default: scikit-learn's]")
    ] = None,
    store: Annotated[str, typer.Option(help="Keeps finished cells; an SQLite file or a database URL.")] = "results.db",
    report: Annotated[Path, typer.Option("--report", "-o", help="The report, one HTML file.")] = Path("report.html"),
    stack_seeds: Annotated[
        bool | None,
        typer.Option(help="Train all seeds of a strategy as one network.  [default: where that is faster]"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Run only this part of all cells, 3/100 for example; `merge` puts parts together."),
    ] = None,
    timing: Annotated[
        bool,
        typer.Option(
            "--timing", help="Measure seconds: one cell at a time, and again those in the store that were not alone."
        ),
    ] = False,
    time_limit: Annotated[
        float, typer.Option(min=1, max=LONGEST_TIME_LIMIT, help="Seconds that a cell may take.")
    ] = TIME_LIMIT,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Run on a Dask cluster: the address of its scheduler, tcp://host:8786 for example."),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Folder where cells that take long keep their state, to go on after a kill.  [default: beside the "
            "store, if that is a file]"
        ),
    ] = None,
) -> None:
    """Run a suite: every strategy learns every stream with every seed; then report.

    Finished cells are kept: after a stop, the same command runs only the rest; where it runs several times at once, on
    one store, the cells are shared. The report is about the cells of this
    command, also where the store has more.
    """
    from .runs.pool import begin_workers, import_cells, import_figures, importing

    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError), importing():
        from .runs.suites import load_suite

        chosen = load_suite(suite)
        _check_jobs(n_jobs)
        programs = [word for option in guest or [] for word in option.partition("=")[2].split()]
        _check_report(report, store, suite, *programs)
        specs = chosen.strategy_specs(_split(strategies))
        sources = chosen.stream_specs(_split(streams), None if data_home is None else str(data_home))
        n_seeds = chosen.seeds if seeds is None else seeds
        has_workers = not timing and scheduler is None and shard is None
        if has_workers:
            import_needed = functools.partial(import_cells, list(specs.values()))
            begin_workers(n_jobs, import_needed, len(specs) * len(sources) * n_seeds)
        from .runs.checkpoints import checkpoints_for
        from .runs.runner import plan_cells, run_cells, shard_of
        from .runs.workers import Conditions
        from .store import Store, StoreError

        cells = plan_cells(
            _with_guests(specs, guest or [], chosen),
            sources,
            seeds=n_seeds,
            device=device,
            stack_seeds="auto" if stack_seeds is None else stack_seeds,
            protocol=chosen.protocol(),
        )
        if shard is not None:
            cells = shard_of(cells, shard)
            if not cells:
                print(f"The shard {shard} has no cells: there are fewer cells than shards.")
                return
        kept = Store(store)
        conditions = Conditions(n_jobs, time_limit, scheduler, checkpoints_for(kept, checkpoints))
    with kept, _exit_on(BAD_INPUT, ValueError), _exit_on(FAILED, StoreError):
        results = run_cells(cells, kept, conditions, progress=True, timing=timing)
    with _exit_on(FAILED, OSError):
        if has_workers:
            begin_workers(n_jobs, import_figures, len(results.runs))
        from ..reports import leaderboard, overall, to_terminal
        from ..reports.tables import unchanging

        several = len(results.runs["stream"].unique()) > 1
        with unchanging():
            to_terminal(leaderboard(results), results.runs, overall=overall(results) if several else None)
            _write_report(results, report, f"forgetless: {chosen.name}", n_jobs)
    if (results.runs["status"] == "failed").any():
        raise typer.Exit(FAILED)


@app.command()
def compare(
    data: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, or a name from `list datasets`.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="The column to predict.", show_default=False)],
    by: Annotated[str | None, typer.Option(help="Each value of this column is an experience.")] = None,
    time: Annotated[str | None, typer.Option(help="The column that gives the order.")] = None,
    chunks: Annotated[int | None, typer.Option(help="Cut the rows in their order into so many pieces.")] = None,
    classes: Annotated[int | None, typer.Option(help="The classes come in so many experiences.")] = None,
    text: Annotated[str | None, typer.Option(help="Columns that are text, separated by commas.")] = None,
    drop: Annotated[str | None, typer.Option(help="Columns to leave out, separated by commas.")] = None,
    kind: Annotated[TargetKind | None, typer.Option(help="What the targets are.  [default: found out]")] = None,
    scoring: Annotated[
        str | None, typer.Option(help="Scorers of scikit-learn, separated by commas; the first decides.")
    ] = None,
    no_raw_data: Annotated[
        bool, typer.Option("--no-raw-data", help="Only strategies that keep no rows of the data.")
    ] = False,
    max_seconds: Annotated[
        float, typer.Option(help="Seconds to learn and predict all.", show_default=False)
    ] = math.inf,
    max_bytes: Annotated[float, typer.Option(help="Bytes carried from call to call.", show_default=False)] = math.inf,
    n_jobs: Annotated[int, typer.Option(max=MOST_JOBS, help="Runs in parallel; -1: one per core.")] = -1,
    data_home: Annotated[
        Path | None, typer.Option(help="Folder of downloaded data.  [default: scikit-learn's]")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Keeps finished runs, to go on after a stop: an SQLite file or a database URL.")
    ] = None,
    report: Annotated[Path, typer.Option("--report", "-o", help="The report, one HTML file.")] = Path("report.html"),
    time_limit: Annotated[
        float, typer.Option(min=1, max=LONGEST_TIME_LIMIT, help="Seconds that a run may take.")
    ] = TIME_LIMIT,
) -> None:
    """Find out which strategy to use on your own table, and what it costs.

    Without --by, --time, --chunks or --classes, the rows are taken in the order of their dates, or of the file.
    """
    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError):
        from ..reports import Constraints
        from .comparison.compare import compare as compare_on
        from .comparison.compare import show

        _check_jobs(n_jobs)
        _check_report(report, store, data)
        found = compare_on(
            data,
            target,
            by=by,
            time=time,
            chunks=chunks,
            classes=classes,
            text=_split(text) or (),
            drop=_split(drop) or (),
            kind=None if kind is None else kind.value,
            scoring=_split(scoring) or (),
            constraints=Constraints(no_raw_data=no_raw_data, max_seconds=max_seconds, max_bytes=max_bytes),
            store=store,
            n_jobs=n_jobs,
            time_limit=time_limit,
            data_home=None if data_home is None else str(data_home),
        )
    with _exit_on(FAILED, OSError):
        try:
            found.write_html(report)
        finally:  # what took so long is not lost with the report
            show(f"\n{found}\n")
        show(f"The report is in {report}.")


@app.command()
def report(
    store: StoreArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The report, one HTML file.")] = Path("report.html"),
    matched: MatchedOption = None,
    budget: BudgetOption = None,
    n_jobs: DrawingJobs = -1,
) -> None:
    """Write a report about everything in a store, or about what shares a budget."""
    with _exit_on(BAD_INPUT, ValueError, OSError):
        _check_jobs(n_jobs)
        _check_report(output, store)
        results, name = _sharing(store, matched, budget)
        _write_report(results, output, f"forgetless: {Path(name).name}", n_jobs)


@app.command()
def site(
    store: StoreArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder; a site that is there is replaced.")
    ] = Path("site"),
    matched: MatchedOption = None,
    budget: BudgetOption = None,
    n_jobs: DrawingJobs = -1,
) -> None:
    """Write a folder of pages about everything in a store, or about what shares a budget.

    Open it as a file, or put it on any static host.
    """
    with _exit_on(BAD_INPUT, ValueError, OSError):
        from ..reports import write_site

        _check_jobs(n_jobs)
        results, name = _sharing(store, matched, budget)
        title = f"forgetless: {Path(name).name}"
        write_site(results, output, title, command=_command(sys.argv[1:]), n_jobs=n_jobs)
        print(f"The site is in {output}; it begins with {output / 'index.html'}.")


@app.command()
def leaderboard(
    store: StoreArgument,
    format: Annotated[
        Format, typer.Option(help="How to write it; LaTeX needs booktabs, Parquet the package pyarrow and --output.")
    ] = Format.text,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric to show beside the score; may be repeated.")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option(help="Only this stream; may be repeated.")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Only this strategy; may be repeated.")] = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario: class, task or domain; may be repeated.")
    ] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family of strategies; may be repeated.")] = None,
    keeps: Annotated[
        list[str] | None, typer.Option(help="Only what keeps this of the data: nothing, say; may be repeated.")
    ] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only what ran on this device; may be repeated.")] = None,
    matched: MatchedOption = None,
    budget: BudgetOption = None,
    pivot: Annotated[
        bool, typer.Option("--pivot", help="One table, with the streams (by their scores) side by side.")
    ] = False,
    together: Annotated[
        bool, typer.Option("--overall", help="Only what all streams show together: gaps closed, and at what price.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; where it is not given, it is printed.")
    ] = None,
) -> None:
    """Print the leaderboard of everything in a store, or of a part of it."""
    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError):
        if format is Format.parquet and output is None:
            raise ValueError("Parquet is no text to print; name a file with --output.")
        if pivot and together:
            raise ValueError("--pivot and --overall are two tables; give one of them.")
        if output is not None:
            _check_report(output, store)
        results, name = _sharing(store, matched, budget)
        from .. import reports
        from ..reports.files import replace_file
        from ..reports.tables import unchanging

        wanted: dict[str, Any] = {
            "stream": stream,
            "strategy": strategy,
            "scenario": scenario,
            "family": family,
            "keeps": keeps,
            "device": device,
        }
        with unchanging():
            board = reports.leaderboard(results, metric or None, **wanted)
            one_table = format in (Format.csv, Format.parquet)
            beside = not one_table and len(board["stream"].unique()) > 1
            whole = reports.overall(results, **wanted) if together or beside else None
        numbers = whole.table if whole is not None and together else reports.pivot(board) if pivot else board
        if format is Format.parquet and output is not None:
            reports.to_parquet(numbers, output)
            return
        board = board[:0] if together else board
        boards = [each for each in (whole, board) if each is not None]
        text = io.StringIO()
        match format:
            case Format.csv:
                text.write(reports.to_csv(numbers))
            case Format.markdown:
                text.write(reports.to_markdown(*boards, pivot=pivot))
            case Format.latex:
                text.write(reports.to_latex(*boards, pivot=pivot))
            case Format.html:
                text.write(reports.to_html(*boards, pivot=pivot, title=f"Leaderboard: {Path(name).name}"))
            case _:
                runs = reports.select(results, **wanted).runs
                to_file = None if output is None else text
                reports.to_terminal(board, runs, overall=whole, pivot=pivot, file=to_file)
        if output is not None:
            replace_file(output, lambda new: new.write_text(text.getvalue(), encoding="utf-8", newline="\n"))
        elif format is not Format.text:
            print(text.getvalue().rstrip("\n"))


@app.command()
def diagnose(store: StoreArgument) -> None:
    """Say what went wrong with which strategy, by which signs, and the one thing to change."""
    with _exit_on(BAD_INPUT, ValueError, OSError):
        results, _ = _stored(store)
        from .. import reports

        print(reports.describe(reports.diagnose(results)))


@app.command()
def merge(
    stores: Annotated[list[str], typer.Argument(help="Files or URLs of the stores to take from.", show_default=False)],
    store: Annotated[str, typer.Option(help="Where all cells go; made if it is not there.")] = "results.db",
) -> None:
    """Put the cells of several stores into one: those of shards, or of several machines.

    Cells that are finished there already stay. The stores that are read do not change.
    """
    with _exit_on(BAD_INPUT, ValueError, OSError):
        from .store import Store

        with contextlib.ExitStack() as opened:
            parts = [opened.enter_context(Store(name, read_only=True)) for name in stores]
            kept = opened.enter_context(Store(store))
            for part in parts:
                print(f"{kept.merge(part)} cells taken over from {part.name}.")
            print(f"{sum(1 for _ in kept.cells())} cells are in {kept.name}.")


@app.command("export")
def export_results(
    store: StoreArgument,
    path: Annotated[Path, typer.Argument(help="The Parquet file to write; its card is beside it, with .md.")],
) -> None:
    """Write all runs of a store to one file to publish, with a card that explains its columns."""
    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError):
        from .exchange import export_store
        from .store import Store

        with Store(store, read_only=True) as opened:
            card = export_store(opened, path)
        print(f"The runs are in {path}, what they mean in {card}.")


@app.command("import")
def import_results(
    path: Annotated[Path, typer.Argument(help="A file that `export` wrote.", show_default=False)],
    store: Annotated[str, typer.Option(help="Where the runs go; made if it is not there.")] = "results.db",
) -> None:
    """Take over the runs of an exported file; those that are finished in the store already stay."""
    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError):
        from .exchange import import_file
        from .store import Store

        with Store(":memory:") as found:
            import_file(path, found)
            with Store(store) as opened:  # only now: a wrong file leaves no empty store behind
                print(f"{opened.merge(found)} cells taken over from {path}.")


@app.command("track")
def track_results(
    store: StoreArgument,
    uri: Annotated[str, typer.Argument(help="MLflow's server, database or folder.", show_default=False)],
    experiment: Annotated[str, typer.Option(help="Name of the experiment.")] = "forgetless",
) -> None:
    """Hand the runs of a store to MLflow; those that it has already stay as they are."""
    with _exit_on(BAD_INPUT, ValueError, OSError, ImportError):
        from .trackers import MLflowTracker, track

        results, _ = _stored(store)
        print(f"{track(results, MLflowTracker(uri, experiment))} of {len(results.runs)} runs are new to {experiment}.")


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="source, source/method, source/method/stream or more; all claims, if not given.", show_default=False
        ),
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="List the claims and what they cost; run nothing.")] = False,
    seeds: Annotated[
        int, typer.Option(min=1, max=MOST_SEEDS, help="Number of seeds; claims that demand more get more.")
    ] = 3,
    n_jobs: Annotated[int, typer.Option(max=MOST_JOBS, help="Cells that run in parallel; -1: one per core.")] = -1,
    data_home: Annotated[
        Path | None, typer.Option(help="Folder of downloaded data.  [default: scikit-learn's]")
    ] = None,
    store: Annotated[str, typer.Option(help="Keeps finished cells; an SQLite file or a database URL.")] = "verify.db",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page, in Markdown.  [default: docs/replication.md if the folder is there, else replication.md]",
        ),
    ] = None,
) -> None:
    """Run published results again and say pass or fail.

    Finished cells are kept: after a stop, the same command runs only the rest. The page is about all claims, and about
    all seeds in the store and in the record, a CSV file beside the page: what is recorded there, on any machine, is not
    run again as long as settings and data are the same.
    """
    with _exit_on(BAD_INPUT, ValueError, OSError):
        from .replication.claims import choose, load_claims
        from .replication.page import to_list, to_page, to_text

        claims = load_claims()
        chosen = choose(claims, names or [])
        if only_list:
            print(to_list(chosen))
            return
        from ..reports.files import replace_file
        from .replication.ledger import measured, outcomes, plan, read_record
        from .runs.checkpoints import checkpoints_for
        from .runs.runner import run_cells
        from .runs.workers import Conditions
        from .store import Store, StoreError

        _check_jobs(n_jobs)
        page = _replication_page() if output is None else output
        _check_report(page, store)
        home = None if data_home is None else str(data_home)
        record = page.with_name(f"{page.stem}-runs.csv")
        _check_report(record, store)
        before = read_record(record)
        needed, cells = plan(chosen, seeds, before, home)
        if len(cells) < len(needed):
            _say(f"{len(needed) - len(cells)} of {len(needed)} runs are recorded in {record} already.")
        kept = Store(store)
        conditions = Conditions(n_jobs, TIME_LIMIT, checkpoints=checkpoints_for(kept, None))
    with kept, _exit_on(FAILED, StoreError):
        run_cells(cells, kept, conditions, progress=True)
        finished, failed = measured(claims.values(), kept, before, home)
        found = outcomes(claims.values(), finished, failed)
    with _exit_on(FAILED, OSError):
        replace_file(record, lambda new: finished.to_csv(new, index=False))
        replace_file(page, lambda new: new.write_text(to_page(found), encoding="utf-8"))
    asked = [each for each in found if each.claim.name in {claim.name for claim in chosen}]
    print(to_text(asked))
    print(f"The page is {page}.")
    if not all(each.holds for each in asked):
        raise typer.Exit(FAILED)


@app.command("list")
def list_(kind: Annotated[Kind | None, typer.Argument(help="What to list; everything, if not given.")] = None) -> None:
    """List what there is: strategies, streams, suites, datasets."""
    listings = {
        Kind.strategies: _strategies,
        Kind.streams: _streams,
        Kind.suites: _suites,
        Kind.datasets: _datasets,
    }
    for each in Kind if kind is None else [kind]:
        if kind is None:
            print(f"{each}:")
        rows = dict(listings[each]())
        width = max(map(len, rows))
        for name, what in rows.items():
            print(f"{'' if kind else '  '}{name:{width}}  {what}".rstrip())


# --- parts -------------------------------------------------------------------------------------------------------


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _replication_page() -> Path:
    """Say where the page belongs: into the documentation in a checkout, else here."""
    folder = Path("docs")
    return (folder if folder.is_dir() else Path()) / "replication.md"


def _check_jobs(n_jobs: int) -> None:
    if n_jobs == 0:
        raise ValueError("--n-jobs is 0; give how many may go on in parallel, or -1 for one per core.")


def _check_report(path: Path, store: str | None, *inputs: str) -> None:
    """Find out before hours of work that the report has no place, or that of something which the command needs."""
    from .files import file_of_store, is_same_file

    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"The report {path} cannot be written: there is no folder {folder}.")
    if path.is_dir():
        raise ValueError(f"The report {path} cannot be written: it is a folder.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"The report {path} cannot be written: permission denied.")
    kept = file_of_store(store or "")
    if kept and is_same_file(path, kept):
        raise ValueError(f"The report {path} would overwrite the store; name another file.")
    for each in filter(os.path.isfile, inputs):
        if is_same_file(path, each):
            raise ValueError(f"The report {path} would overwrite {each}, which is read; name another file.")


def _write_report(results: ResultTables, path: Path, title: str, n_jobs: int) -> None:
    from ..reports import write_html

    write_html(results, path, title=title, command=_command(sys.argv[1:]), n_jobs=n_jobs)
    print(f"The report is in {path}.")


def _command(arguments: Sequence[str]) -> str:
    """Write down the command, without what addresses of databases may keep secret: users, passwords, queries."""
    import shlex

    open_ones = [re.sub(r"(://[^?]*)\?.*", r"\1", re.sub(r"://.*@", "://***@", each)) for each in arguments]
    return shlex.join(["forgetless", *open_ones])


def _stored(store: str) -> tuple[Results, str]:
    """Read all results, and the name of the store, without a password."""
    from .store import Store

    with Store(store, read_only=True) as kept:
        results = kept.results()
    if results.runs.empty:
        raise ValueError(f"The store {kept.name} has no results yet.")
    return results, kept.name


def _sharing(store: str, by: Matched | None, budget: float | None) -> tuple[ResultTables, str]:
    """Read all results, or those that share a budget, and the name of the store."""
    if budget is not None and by is None:
        raise ValueError("--budget is a limit of something: give --matched memory, or --matched compute.")
    results, name = _stored(store)
    if by is None:
        return results, name
    from ..reports import matched

    return matched(results, by.value, budget), name


def _with_guests(strategies: Mapping[str, Any], options: Sequence[str], suite: Suite) -> dict[str, Any]:
    """Add guests, of what the user gave as NAME=COMMAND; a suite file cannot name a program to run."""
    from ..estimators import make_incremental_pipeline
    from .runs.guests import Guest
    from .runs.specs import transformer
    from .runs.suites import steps_of

    found = dict(strategies)
    for option in options:
        name, separator, command = option.partition("=")
        if not (separator and name.strip() and name.isprintable()):
            raise ValueError(f"--guest is {option!r}; give NAME=COMMAND, such as 'Avalanche=python avalanche.py'.")
        if name.strip() in found:
            raise ValueError(f"Two strategies have the name {name.strip()!r}; give the guest another one.")
        guest = Guest.from_command(command, suite.net.model_dump(exclude_none=True))
        found[name.strip()] = (
            make_incremental_pipeline(*map(transformer, steps_of(suite.preprocess)), guest)
            if suite.preprocess
            else guest
        )
    return found


def _strategies() -> Iterator[tuple[str, str]]:
    from .. import estimators
    from ..estimators.registry import strategy_modules
    from .runs.specs import short_name, strategy_names

    folder, modules = Path(estimators.__file__).parent, strategy_modules()
    for name in strategy_names():
        what = ""
        if name in modules:  # read, not imported: torch takes seconds
            source = folder.joinpath(*modules[name].split(".")).with_suffix(".py").read_text("utf-8")
            _, _, docstring = source.partition(f"\nclass {name}(")[2].partition('"""')
            what = docstring.partition("\n")[0].partition(" :math:")[0]
        yield short_name(name), what
    yield "sklearn...", "any classifier of scikit-learn with partial_fit, such as sklearn.linear_model.SGDClassifier"


@functools.cache
def _packaged_suites() -> dict[str, Suite]:
    from .runs.suites import load_suite, suite_names

    return {name: load_suite(name) for name in suite_names()}


def _streams() -> Iterator[tuple[str, str]]:
    for suite, loaded in _packaged_suites().items():
        for name, spec in loaded.stream_specs().items():
            settings = ", ".join(f"{key}={value}" for key, value in spec.params.items())
            what = f"{spec.dataset}, {spec.builder}" + (f", {settings}" if settings else "")
            yield name, f"{what} (suite {suite})"


def _suites() -> Iterator[tuple[str, str]]:
    for suite, loaded in _packaged_suites().items():
        yield suite, loaded.description


def _datasets() -> Iterator[tuple[str, str]]:
    from ..datasets import DATASETS

    for name, loader in DATASETS.items():
        yield name, f"forgetless.datasets.{loader}"
