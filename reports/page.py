"""The report as one self-contained HTML page, which loads no script, style, font or image."""

import os
from collections.abc import Sequence

from .contents import contents, render
from .files import replace_file
from .tables import ResultTables, unchanging


def write_html(
    results: ResultTables,
    path: str | os.PathLike[str],
    title: str = "Benchmark report",
    *,
    answer: Sequence[str] = (),
    assumptions: Sequence[str] = (),
    code: str = "",
    command: str = "",
    n_jobs: int = 1,
) -> None:
    """Write the report as one HTML file that works offline.

    The same results give the same bytes. The file is replaced only when the report is complete.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    path : path-like
        Path of the file; an existing file is replaced.
    title : str
        Heading of the page.
    answer, assumptions : sequence of str, default=()
        What stands first: the answer to the question that the benchmark was run for, in paragraphs, and what was
        assumed, in sentences.
    code : str, default=""
        The lines of Python that follow from the answer.
    command : str, default=""
        The command that made the page, which stands at its end.
    n_jobs : int, default=1
        How many figures are drawn in parallel, if there are many; as in joblib.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from forgetless.reports import example_results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_html(example_results(), Path(folder) / "report.html")
    ...     (Path(folder) / "report.html").read_text(encoding="utf-8")[:15]
    '<!DOCTYPE html>'
    """
    with unchanging():
        shown = contents(results, n_jobs)
    shown |= {"title": title, "given": answer, "assumptions": assumptions, "code": code, "command": command}
    page = render("page.html", **shown)
    replace_file(path, lambda new: new.write_text(page, encoding="utf-8", newline="\n"))
