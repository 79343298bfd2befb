"""The site: every link leads somewhere, every number to its runs; names are safe; nothing of others is deleted."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers.pages import check_site
from helpers.results import cell, incomplete, made, make_results, rename, together
from scipy import stats

from forgetless.reports import (
    comparison_matrix,
    example_results,
    gap_closed,
    leaderboard,
    run_scores,
    write_html,
    write_site,
)
from forgetless.reports.files import MANIFEST, replace_folder
from forgetless.reports.site import file_names

HOSTILE = "</script><script>alert(1)</script></svg></style><!--\"'&|$x^2$\x1b[31m\x00\u202e{{ 7*7 }}"
ODD_NAMES = (
    "../x",
    "..",
    "CON",
    "con",
    "EWC",
    "ewc",
    "Ewc\u200b",
    "a" * 400,
    "",
    " ",
    "λ→∞",
    "a/b\\c:d*?",
    ".",
)


def site(results, tmp_path, **options):
    write_site(results, tmp_path / "site", **options)
    return tmp_path / "site"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The site of the example."""
    return site(example_results(), tmp_path_factory.mktemp("example"))


@pytest.fixture
def folder(example, tmp_path):
    """A site of its own for a test, that of the example."""
    return Path(shutil.copytree(example, tmp_path / "site"))


def small():
    """Results whose site is written soon."""
    return make_results(["EWC"], seeds=[0], n=1)


def compared(folder):
    page = (folder / "compare.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="compared">(.*?)</script>', page)[1])


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_link_leads_to_a_page_and_a_place(tmp_path):
    folder = site(make_results(streams=("digits", "wine"), failed=[("EWC", 1)]), tmp_path, title="A title & more")
    found = check_site(folder)
    kinds = sorted(name.partition("/")[0] for name in found)
    assert kinds == ["compare.html", "index.html", "search.html", *["strategies"] * 3, *["streams"] * 2]
    text = {name: " ".join(" ".join(markup.text).split()) for name, markup in found.items()}
    for expected in ("The answer", "A title & more", "What cannot be concluded", "digits", "wine", "Joint", "DER++"):
        assert expected in text["index.html"]
    (ewc,) = (said for name, said in text.items() if name.startswith("strategies/ewc"))
    assert "ValueError: the loss is nan" in ewc
    assert "2020-02-03T00:00:00+00:00" in ewc
    for name, markup in found.items():
        if name.startswith("streams"):
            assert markup.tags.count("svg") == 8


def numbers_of(folder, results):
    """The cells of the leaderboards of streams: where each leads, and what it says."""
    for page in (folder / "streams").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        (stream,) = (name for name in results.runs["stream"].unique() if f"<h1>{name}</h1>" in text)
        board = text[text.index(f'aria-label="Leaderboard of {stream}"') :].partition("</table>")[0]
        for row in re.findall(r"<tr data-series.*?</tr>", board, flags=re.DOTALL):
            (name,) = re.findall(r'<span class="name">.*?<a href="[^"]*">(.*?)</a>', row)
            yield stream, name, re.findall(r'<td class="n" data-v="([^"]*)">(?:<a href="\.\./(.*?)#(.*?)".*?>)?', row)


def test_each_number_leads_to_the_runs_it_is_the_mean_of(tmp_path):
    results = make_results(streams=("digits", "wine"), failed=[("EWC", 1)])
    folder = site(results, tmp_path)
    board = leaderboard(results).set_index(["stream", "strategy"])
    n_rows = 0
    for stream, name, cells in numbers_of(folder, results):
        *cells, (n_seeds, *_) = cells
        targets = {(page, place) for _, page, place in cells}
        ((page, place),) = targets
        text = (folder / page).read_text(encoding="utf-8")
        record = re.search(rf'<details class="more" id="{place}">.*?</details>', text, flags=re.DOTALL)[0]
        runs = re.findall(r'<tr id="run-.*?</tr>', record)
        seeds = [int(re.search(r'<th scope="row">(\d+)</th>', run)[1]) for run in runs]
        assert seeds == [0, 1, 2]
        scores = [float(score) for run in runs for score in re.findall(r'</th><td class="n">([\d.]+)</td>', run)]
        assert len(scores) == int(n_seeds) == (2 if name == "EWC" else 3)
        assert np.mean(scores) == pytest.approx(100 * board.loc[(stream, name), "score"], abs=0.06)
        n_rows += 1
    assert n_rows == 6


def test_parameters_and_versions_of_each_run_are_told(tmp_path):
    results = make_results()
    runs = results.runs
    mine = runs["strategy"] == "EWC"
    runs.loc[mine, "params"] = [f'{{"strength": {k}}}' for k in (1, 2, 1)]
    runs.loc[mine, "versions"] = '{"python": "3.99"}'
    folder = site(results, tmp_path)
    (page,) = (folder / "strategies").glob("ewc-*")
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r'<tr id="run-.*?</tr>', text)
    assert [re.findall(r'href="#(params-\d+)"', row) for row in rows] == [["params-1"], ["params-2"], ["params-1"]]
    assert all('href="#versions-1"' in row for row in rows)
    assert '<dt id="params-2">P2</dt><dd><code>{&#34;strength&#34;: 2}</code></dd>' in text
    assert '<dt id="versions-1">V1</dt><dd><code>{&#34;python&#34;: &#34;3.99&#34;}</code></dd>' in text
    # The search finds what has this parameter.
    searched = re.findall(r'<li data-words="([^"]*)">', (folder / "search.html").read_text(encoding="utf-8"))
    assert ["strength" in words for words in searched] == ["EWCClassifier" in words for words in searched]
    assert sum("strength" in words for words in searched) == 1


# --- two side by side ----------------------------------------------------------------------------------------------


def plain(text):
    return float(text.replace("−", "-"))


def of_scores(names, scores):
    results = made(names, scores, np.ones((len(scores), len(names))))
    facts = {"family": "own", "source": "", "params": "{}", "versions": "{}", "machine": "a", "device": "cpu"}
    results.runs = results.runs.assign(**facts, started="2020-01-01", error=None, seconds=1.0)
    return results


def test_differences_are_those_of_paired_seeds(tmp_path):
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    scores = rng.uniform(0.2, 0.8, size=(2, 7, 1, 3))
    results = of_scores(names, scores)
    lost = results.runs.query("strategy == 'b' and seed == 3 and stream == 's1'")["cell"].item()
    results.runs.loc[results.runs["cell"] == lost, "status"] = "failed"
    data = compared(site(results, tmp_path))
    order = [names.index(each["name"]) for each in data["strategies"]]
    for stream, each in enumerate(data["streams"]):
        pairs = list(combinations(order, 2))
        assert len(each["pairs"]) == len(pairs)
        for (one, other), (n, sure, *said) in zip(pairs, each["pairs"], strict=True):
            finished = [k for k in range(7) if not (stream == 1 and k == 3 and 1 in (one, other))]
            first, second = (100 * scores[stream, finished, 0, k] for k in (one, other))
            low, high = stats.ttest_rel(first, second).confidence_interval()
            assert n == len(finished)
            expected = [np.mean(first - second), max(low, -100), min(high, 100)]
            assert [plain(text) for text in said] == pytest.approx(expected, abs=0.051)
            assert sure == int(low > 0) - int(high < 0)


def test_one_is_higher_over_all_streams_only_where_holm_says_so(tmp_path):
    rng = np.random.default_rng(0)
    names = ["low", "high", "higher"]
    scores = np.clip(rng.normal([0.3, 0.7, 0.7], 0.02, size=(1, 8, 1, 3)), 0, 1)
    results = of_scores(names, scores)
    data = compared(site(results, tmp_path))
    order = [each["name"] for each in data["strategies"]]
    judged = run_scores(results)
    assert gap_closed(judged).table.empty
    p = {frozenset((row.strategy, row.other)): row.p_holm for row in comparison_matrix(judged).itertuples()}
    for pair, (n, sure, mean, *_, said) in zip(combinations(order, 2), data["all"]["pairs"], strict=True):
        expected = p[frozenset(pair)]
        assert n == 8
        assert sure == (np.sign(plain(mean)) if expected < 0.05 else 0)
        assert said == ("p < 0.001" if expected < 0.001 else f"p = {expected:.3f}")
        assert (sure == 0) == ("low" not in pair)
    assert (data["all"]["unit"], data["all"]["what"]) == ("seeds", "points")


def test_streams_of_different_scores_are_compared_one_by_one(tmp_path):
    nan = math.nan
    matrices = {"accuracy": [[1.0, nan], [0.5, 0.75]], "r2": [[-1.0, nan], [-2.0, 0.5]]}
    results = together(
        *(
            cell(
                [[nan, nan], *matrix], scorer=scorer, stream=scorer, strategy=name, cell=f"{scorer}{name}", seconds=1.0
            )
            for scorer, matrix in matrices.items()
            for name in ("a", "b")
        )
    )
    data = compared(site(results, tmp_path))
    assert data["all"] is None
    assert [each["scores"] for each in data["streams"]] == [["62.5", "62.5"], ["−0.75", "−0.75"]]
    assert [each["pairs"] for each in data["streams"]] == [[[1, 0, "+0.0"]], [[1, 0, "+0"]]]


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_of_files_are_safe_and_different():
    names = [*ODD_NAMES, "\ud800", *(f"strategy {k}" for k in range(200_000))]
    files = file_names(names)
    assert list(files) == names
    assert len({file.casefold() for file in files.values()}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", file) and len(file) < 100 for file in files.values())
    # The short ends of so many names are not different.
    assert len({file.rpartition("-")[2][:8] for file in files.values()}) < len(names)
    assert file_names(["EWC", "ewc", "EWC"]) == {"EWC": "ewc-905b5846", "ewc": "ewc-1d8cb716"}


@pytest.mark.parametrize("column", ["strategy", "stream"])
def test_names_that_no_file_can_have_get_pages_within_the_folder(column, tmp_path):
    options = {"strategies": ODD_NAMES} if column == "strategy" else {"streams": ODD_NAMES, "strategies": ["EWC"]}
    folder = site(make_results(seeds=[0], n=1, **options), tmp_path)
    found = check_site(folder)
    assert len(found) == 3 + len(ODD_NAMES) + 1
    assert os.listdir(tmp_path) == ["site"]


def test_hostile_text_stays_text(tmp_path):
    results = rename(make_results(failed=[("EWC", 0)]), "EWC", HOSTILE)
    results = rename(results, "digits", HOSTILE + "stream")
    results.runs["error"] = results.runs["error"].where(results.runs["status"] == "ok", HOSTILE)
    for column in ("estimator", "family", "source", "params", "machine", "device", "versions", "keeps", "started"):
        results.runs.loc[results.runs["strategy"] == HOSTILE, column] = HOSTILE
    folder = site(results, tmp_path, title=HOSTILE, command=HOSTILE)
    found = check_site(folder)
    assert any("</script><script>alert(1)</script></svg></style>" in "".join(markup.text) for markup in found.values())
    for name, content in bytes_of(folder).items():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", content.decode()), name
        assert "<script>alert" not in content.decode()


# --- what stands whatever there is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("results", [pytest.param(results, id=name) for name, results in incomplete()])
def test_incomplete_results_have_a_site(results, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_site(site(results, tmp_path))


def test_one_of_each_has_a_site_that_compares_nothing(tmp_path):
    folder = site(make_results(["EWC"], seeds=[0], n=1), tmp_path)
    check_site(folder)
    assert "There are no two strategies to compare." in (folder / "compare.html").read_text(encoding="utf-8")


def test_another_process_gives_the_same_bytes_and_leaves_matplotlib_as_it_was(example, tmp_path):
    code = (
        "import matplotlib as mpl, sys; mpl.rcParams['font.size'] = 3; before = mpl.rcParams.copy();"
        "from forgetless.reports import example_results, write_html, write_site;"
        f"write_html(example_results(), {str(tmp_path / 'other.html')!r});"
        f"write_site(example_results(), {str(tmp_path / 'other')!r});"
        # Asking for the backend would choose one, and import pyplot.
        "assert all(mpl.rcParams[k] == before[k] for k in before if k != 'backend');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "False"
    assert bytes_of(tmp_path / "other") == bytes_of(example)
    page = (tmp_path / "other.html").read_bytes()
    for _ in range(2):
        write_html(example_results(), tmp_path / "page.html")
        assert (tmp_path / "page.html").read_bytes() == page


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_site_is_replaced_as_a_whole(tmp_path):
    folder = site(make_results(["EWC", "DER++"], seeds=[0], n=1), tmp_path)
    before = bytes_of(folder)
    site(small(), tmp_path)
    assert set(bytes_of(folder)) < set(before)
    check_site(folder)
    assert os.listdir(tmp_path) == ["site"]


@pytest.mark.parametrize("name", ["index.html", "streams/mine.html", ".git/config", MANIFEST, "empty/"])
def test_what_is_not_of_a_site_is_never_replaced(name, tmp_path):
    mine = tmp_path / "site" / name
    if name.endswith("/"):
        mine.mkdir(parents=True)
    else:
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
    before = bytes_of(tmp_path)
    with pytest.raises(ValueError, match=r"has files that are not of a site, such as '.*'; choose another folder"):
        site(small(), tmp_path)
    assert mine.exists() and bytes_of(tmp_path) == before
    assert os.listdir(tmp_path) == ["site"]


def test_what_was_put_into_a_site_is_never_deleted(folder, tmp_path):
    (folder / "streams" / "CNAME").write_text("mine")
    before = bytes_of(folder)
    with pytest.raises(ValueError, match="such as 'streams/CNAME'"):
        site(small(), tmp_path)
    assert bytes_of(folder) == before


def test_what_is_put_there_while_pages_are_written_is_kept(folder, tmp_path):
    before = bytes_of(folder)

    def write(new):
        (new / "page").write_text("new")
        (folder / "mine").write_text("mine")

    with pytest.raises(ValueError, match="such as 'mine'"):
        replace_folder(folder, write)
    assert bytes_of(folder) == before | {"mine": b"mine"}
    assert os.listdir(tmp_path) == ["site"]


def test_the_folder_appears_whole_or_not_at_all(folder, tmp_path, monkeypatch):
    before = bytes_of(folder)
    written, write_text = [], Path.write_text

    def full(path, *args, **options):
        written.append(path)
        if len(written) == 4:
            raise OSError("disk full")
        return write_text(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="disk full"):
            site(small(), tmp_path)
    assert bytes_of(folder) == before
    rename = os.rename

    def busy(old, new):
        if Path(old).name == "new":
            raise OSError("busy")
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", busy)
        with pytest.raises(OSError, match="busy"):
            site(small(), tmp_path)
    assert bytes_of(folder) == before
    assert os.listdir(tmp_path) == ["site"]


def test_places_where_there_can_be_no_folder_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"The folder .*nowhere does not exist"):
        write_site(small(), tmp_path / "nowhere" / "site")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; choose another name"):
        write_site(small(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_folder_one_is_in_stays(folder, monkeypatch):
    before = bytes_of(folder)
    monkeypatch.chdir(folder / "streams")
    for path in (".", folder):
        with pytest.raises(ValueError, match="would be replaced: choose another folder"):
            write_site(small(), path)
    assert bytes_of(folder) == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and permissions")
def test_links_stay_and_permissions_are_usual(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "site").symlink_to(tmp_path / "real")
    folder = site(small(), tmp_path)
    assert folder.is_symlink()
    assert (tmp_path / "real" / "index.html").exists()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (folder / "index.html").stat().st_mode == (tmp_path / "plain" / "file").stat().st_mode


@pytest.mark.slow
def test_forty_strategies_on_twenty_streams_with_ten_seeds_take_less_than_two_minutes(tmp_path):
    names = ["Joint", "Naive", *(f"Strategy {k}" for k in range(38))]
    results = make_results(names, [f"stream {k}" for k in range(20)], range(10), n=5)
    results.runs.loc[results.runs["strategy"] == "Naive", "estimator"] = "NaiveClassifier"
    start = time.process_time()
    folder = site(results, tmp_path)
    assert time.process_time() - start < 120
    assert len(check_site(folder)) == 63
