import io
import json
import math
import os
import re
import subprocess
import sys
import tomllib
import warnings
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forgetless.reports import (
    METRICS,
    cell_metrics,
    example_results,
    findings,
    leaderboard,
    summarize,
    to_csv,
    to_markdown,
    to_terminal,
    write_html,
)
from forgetless.reports import figures as figures_module
from forgetless.reports import page as page_module
from forgetless.reports.formats import plain, seconds, size
from forgetless.reports.tables import LEADERBOARD_COLUMNS, SUMMARY_COLUMNS

SCORE_COLUMNS = ["cell", "strategy", "stream", "seed", "trained_on", "tested_on", "score"]
EXPERIENCE_COLUMNS = [
    *("cell", "strategy", "stream", "seed", "experience", "n_train", "fit_seconds", "predict_seconds"),
    *("peak_memory_bytes", "model_bytes", "replay_bytes", "state_bytes", "memory"),
]
HOSTILE = "<script>alert(1)</script></svg></style>\"'&|$x^2$\x1b[31m\x00\u202e{{ 7*7 }}"


def make_results(
    strategies=("Joint", "EWC", "DER++"), streams=("digits",), seeds=(0, 1, 2), n=3, scenario="class", failed=()
):
    """Random results; `failed` holds (strategy, seed)."""
    rng = np.random.default_rng(0)
    about = {
        "Joint": ("JointClassifier", "baselines", "samples"),
        "EWC": ("EWCClassifier", "regularization", "nothing"),
        "DER++": ("DERClassifier", "replay", "samples"),
    }
    runs, experiences, scores = [], [], []
    for stream in streams:
        for strategy in strategies:
            estimator, family, keeps = about.get(strategy, ("SomeClassifier", "external", "nothing"))
            for seed in seeds:
                key = {"cell": f"{stream}|{strategy}|{seed}", "strategy": strategy, "stream": stream, "seed": seed}
                broken = (strategy, seed) in failed
                runs.append(
                    key
                    | {"scenario": scenario, "status": "failed" if broken else "ok", "estimator": estimator}
                    | {"error": "ValueError: the loss is nan" if broken else None, "family": family, "keeps": keeps}
                    | {"source": "Somebody 2018", "needs_task_id": False, "params": "{}", "device": "cpu"}
                    | {"n_experiences": n, "n_parameters": 10, "seconds": 1.0, "started": "2020-02-03T00:00:00+00:00"}
                    | {"versions": json.dumps({"python": "3.11"}), "machine": "a machine"}
                )
                if broken:
                    continue
                for i in range(-1, n):
                    scores += [key | {"trained_on": i, "tested_on": j, "score": rng.random()} for j in range(n)]
                for i in range(n):
                    measured = {"fit_seconds": rng.random(), "predict_seconds": 0.25, "peak_memory_bytes": math.nan}
                    sizes = {"model_bytes": 1000, "replay_bytes": 200, "state_bytes": 30, "memory": "{}"}
                    experiences.append(key | {"experience": i, "n_train": 9} | measured | sizes)
    return SimpleNamespace(
        runs=pd.DataFrame(runs),
        experiences=pd.DataFrame(experiences, columns=EXPERIENCE_COLUMNS),
        scores=pd.DataFrame(scores, columns=SCORE_COLUMNS),
    )


def replace(results, old, new):
    for frame in (results.runs, results.experiences, results.scores):
        frame[["strategy", "stream"]] = frame[["strategy", "stream"]].replace(old, new)
    return results


def matrix(results, cell):
    scores = results.scores[results.scores["cell"] == cell]
    return scores.pivot_table(index="trained_on", columns="tested_on", values="score").to_numpy()


def html(results, tmp_path, **options):
    path = tmp_path / "report.html"
    write_html(results, path, **options)
    return path.read_text(encoding="utf-8")


def python(code, **environment):
    environment = os.environ | {"PYTHONSAFEPATH": "1"} | environment
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout


# Tables


def test_importing_the_package_is_light():
    heavy = "{'pandas', 'matplotlib', 'scipy', 'jinja2', 'rich', 'torch', 'sklearn'}"
    code = f"import sys, forgetless.reports as r; assert dir(r); print({heavy} & set(sys.modules))"
    assert python(code).strip() == "set()"


def test_unknown_names_are_attribute_errors():
    import forgetless.reports

    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = forgetless.reports.nothing


def test_cell_metrics_agree_with_the_functions():
    results = make_results(scenario="domain")
    frame = cell_metrics(results).set_index("cell")
    table, joint = matrix(results, "digits|EWC|1"), matrix(results, "digits|Joint|1")
    row = frame.loc["digits|EWC|1"]
    assert row["average_accuracy"] == pytest.approx(table[-1].mean())
    assert row["forward_transfer"] == pytest.approx(METRICS["forward_transfer"].function(table[1:], table[0]))
    assert row["intransigence"] == pytest.approx(np.mean(np.diag(joint[1:]) - np.diag(table[1:])))
    own = results.experiences[results.experiences["cell"] == "digits|EWC|1"]
    assert row["fit_seconds"] == pytest.approx(own["fit_seconds"].sum())
    assert row["model_bytes"] == 1000
    assert len(frame) == len(results.runs)


def test_undefined_metrics_are_nan_with_a_reason():
    results = make_results(strategies=["EWC"])
    summary = summarize(results).set_index("metric")
    assert "class-incremental" in summary.loc["forward_transfer", "note"]
    assert "JointClassifier" in summary.loc["intransigence", "note"]
    assert summary.loc["peak_memory_bytes", "note"] == "not measured"
    assert summary.loc[["forward_transfer", "intransigence", "peak_memory_bytes"], "mean"].isna().all()
    assert summary.loc["average_accuracy", "note"] == ""


def test_forward_transfer_needs_the_untrained_accuracy():
    results = make_results(strategies=["EWC"], scenario="task")
    results.scores.loc[results.scores["trained_on"] == -1, "score"] = math.nan
    row = summarize(results, ["forward_transfer"]).iloc[0]
    assert math.isnan(row["mean"])
    assert "before learning" in row["note"]


def test_intransigence_compares_with_the_same_seed_and_stream_only():
    results = make_results(strategies=["Joint", "EWC"], seeds=(0, 1), failed=[("Joint", 1)])
    frame = cell_metrics(results).set_index("cell")
    assert not math.isnan(frame.loc["digits|EWC|0", "intransigence"])
    assert math.isnan(frame.loc["digits|EWC|1", "intransigence"])
    row = summarize(results, ["intransigence"]).set_index("strategy").loc["EWC"]
    assert row["n_seeds"] == 1
    assert "JointClassifier" in row["note"]


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_students(confidence):
    results = make_results(seeds=range(5))
    values = cell_metrics(results).query("strategy == 'EWC'")["fit_seconds"]
    row = summarize(results, ["fit_seconds"], confidence).set_index("strategy").loc["EWC"]
    low, high = stats.t.interval(confidence, 4, loc=values.mean(), scale=stats.sem(values))
    assert row["mean"] == pytest.approx(values.mean())
    assert row["std"] == pytest.approx(values.std(ddof=1))
    assert row["ci_low"] == pytest.approx(low)
    assert row["ci_high"] == pytest.approx(high)


def test_intervals_are_clipped_and_unknown_for_one_seed():
    two = summarize(make_results(seeds=(0, 1)))
    for row in two.itertuples():
        low, high = METRICS[row.metric].bounds
        assert row.n_seeds == 0 or low <= row.ci_low <= row.ci_high <= high
    one = summarize(make_results(seeds=(0,)))
    assert one[["std", "ci_low", "ci_high"]].isna().all(axis=None)
    assert one.query("metric == 'average_accuracy'")["mean"].notna().all()


def test_summary_columns_and_order():
    results = make_results(streams=("b", "a"))
    shuffled = SimpleNamespace(
        runs=results.runs,
        experiences=results.experiences.sample(frac=1, random_state=0),
        scores=results.scores.sample(frac=1, random_state=0),
    )
    summary = summarize(results)
    assert list(summary.columns) == SUMMARY_COLUMNS
    assert list(summary["stream"].unique()) == ["b", "a"]
    assert list(summary["strategy"].unique()) == ["Joint", "EWC", "DER++"]
    assert list(summary["metric"].unique()) == list(METRICS)
    pd.testing.assert_frame_equal(summary, summarize(shuffled))


def test_summarize_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"Unknown metric 'accuracy'; choose from average_accuracy"):
        summarize(make_results(), ["accuracy"])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        summarize(make_results(), confidence=95)


def test_failed_cells_leave_the_means_but_not_the_tables():
    broken = make_results(failed=[("EWC", 0), ("DER++", 0), ("DER++", 1), ("DER++", 2)])
    summary = summarize(broken, ["average_accuracy"]).set_index("strategy")
    assert list(summary.loc["EWC", ["n_seeds", "n_failed"]]) == [2, 1]
    assert list(summary.loc["DER++", ["n_seeds", "n_failed", "note"]]) == [0, 3, "all seeds failed"]
    board = leaderboard(broken).set_index("strategy")
    assert board.index[-1] == "DER++"
    assert board.loc["DER++", "n_seeds"] == 0
    assert math.isnan(board.loc["DER++", "average_accuracy"])
    finished = cell_metrics(broken).query("strategy == 'EWC' and status == 'ok'")["average_accuracy"]
    assert board.loc["EWC", "average_accuracy"] == pytest.approx(finished.mean())


def test_leaderboard_columns_and_order():
    results = make_results(streams=("b", "a"))
    # As a harness that goes round by seed would store it.
    results.runs = results.runs.sort_values("seed", kind="stable").reset_index(drop=True)
    board = leaderboard(results)
    expected = (
        "stream strategy n_seeds average_accuracy average_accuracy_ci_low average_accuracy_ci_high forgetting "
        "backward_transfer learning_accuracy fit_seconds predict_seconds model_bytes replay_bytes state_bytes keeps"
    )
    assert list(board.columns) == LEADERBOARD_COLUMNS == expected.split()
    assert list(board["stream"]) == ["b"] * 3 + ["a"] * 3
    for _, rows in board.groupby("stream"):
        assert rows["average_accuracy"].is_monotonic_decreasing
    assert board["average_accuracy"].between(0, 1).all()


def test_two_runs_of_one_seed_are_one_observation():
    results = make_results(strategies=["EWC"], seeds=(0, 1))
    again = make_results(strategies=["EWC"], seeds=(0, 1))
    for frame in (again.runs, again.experiences, again.scores):
        frame["cell"] = frame["cell"] + "|again"
    both = SimpleNamespace(
        **{name: pd.concat([getattr(results, name), getattr(again, name)]) for name in vars(results)}
    )
    row, once = summarize(both, ["average_accuracy"]).iloc[0], summarize(results, ["average_accuracy"]).iloc[0]
    assert row["n_seeds"] == 2
    assert row["ci_low"] == pytest.approx(once["ci_low"])
    assert "share a seed" in row["note"]


def incomplete():
    full = make_results(streams=("digits", "wine"), failed=[("EWC", 0)])
    empty = SimpleNamespace(runs=full.runs[:0], experiences=full.experiences[:0], scores=full.scores[:0])
    yield "empty", empty
    yield "columns only", SimpleNamespace(**{name: pd.DataFrame(columns=f.columns) for name, f in vars(full).items()})
    yield "runs only", SimpleNamespace(runs=full.runs, experiences=empty.experiences, scores=empty.scores)
    rng = np.random.default_rng(1)
    keep = SimpleNamespace(**{name: f[rng.random(len(f)) < 0.6] for name, f in vars(full).items()})
    yield "random rows", keep
    yield (
        "first experience only",
        SimpleNamespace(
            runs=full.runs,
            experiences=full.experiences.query("experience == 0"),
            scores=full.scores.query("trained_on <= 0"),
        ),
    )
    unknown = make_results()
    unknown.runs = unknown.runs.assign(
        n_experiences=math.nan, keeps=None, versions="not json", machine=None, error=None
    )
    yield "unknown facts", unknown
    yield "everything failed", make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])
    yield "one experience", make_results(n=1)


@pytest.mark.parametrize("results", [pytest.param(results, id=name) for name, results in incomplete()])
def test_incomplete_results_are_reported_silently(results, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board = leaderboard(results)
        assert len(cell_metrics(results)) == len(results.runs)
        assert len(board) == len(results.runs.groupby(["stream", "strategy"]))
        to_csv(board)
        to_markdown(board)
        to_terminal(board, results.runs, file=io.StringIO())
        check_markup(html(results, tmp_path))


# Text


def test_csv_has_the_columns_and_full_precision():
    board = leaderboard(make_results())
    back = pd.read_csv(io.StringIO(to_csv(board)))
    assert list(back.columns) == LEADERBOARD_COLUMNS
    pd.testing.assert_frame_equal(back, board, check_dtype=False)


def test_markdown_escapes_names():
    board = leaderboard(replace(make_results(), "EWC", "a|b\\c\n<img src=x>*[x](y)`"))
    text = to_markdown(board)
    assert r"a\|b\\c &lt;img src=x&gt;\*\[x\](y)\`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 5


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_is_plain_in_a_file_and_coloured_in_a_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    board, file, terminal = leaderboard(make_results()), io.StringIO(), Terminal()
    to_terminal(board, file=file)
    assert "\x1b" not in file.getvalue()
    assert all(name in file.getvalue() for name in ("Joint", "EWC", "DER++", "digits", "samples", "±", "━"))
    to_terminal(board, file=terminal, width=120)
    assert "\x1b[" in terminal.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_terminal_fits_the_width(width):
    file, results = io.StringIO(), make_results(failed=[("EWC", 0)])
    to_terminal(leaderboard(results), results.runs, file=file, width=width)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("accura" in line for line in lines)
    assert ("learned %" in file.getvalue()) == (width >= 120)


def test_terminal_neutralises_names_and_shows_failures_on_a_line():
    results = replace(make_results(failed=[("EWC", 1)]), "EWC", "[red]evil\x1b]0;owned\x07\x9b31m\nname")
    results.runs.loc[results.runs["status"] == "failed", "error"] = "first\r\nsecond \x1b[2J [/red]"
    file = io.StringIO()
    to_terminal(leaderboard(results), results.runs, file=file, width=200)
    text = file.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert r"[red]evil\x1b]0;owned\x07\x9b31m name on digits, seed 1: first second \x1b[2J [/red]" in text
    assert "1 failed" in text


def test_terminal_of_another_encoding_gets_ascii():
    results, raw = replace(make_results(), "EWC", "größer"), io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    to_terminal(leaderboard(results), results.runs, file=file, width=120)
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "+/-" in text
    assert "###" in text
    assert r"gr\xf6\xdfer" in text


def test_sizes_and_durations_use_the_unit_that_suits():
    assert [size(value) for value in (0, 999.4, 999.6, 1e6, 5e12)] == ["0 B", "999 B", "1 kB", "1 MB", "5 TB"]
    assert [seconds(value) for value in (0, 0.0012, 0.9996, 59.97, 3599.7)] == [
        "0 ms",
        "1.2 ms",
        "1.00 s",
        "1 min 00 s",
        "1 h 00 min",
    ]
    assert [plain(value) for value in (None, math.nan, "a \n b")] == ["", "", "a b"]


# Findings


def scored(accuracies, fit_seconds, keeps, estimators=None):
    """Build results of one experience in which each strategy has the given accuracies, one per seed."""
    results = make_results(strategies=list(accuracies), n=1, seeds=range(len(next(iter(accuracies.values())))))
    for frame, column in ((results.scores, "score"), (results.experiences, "fit_seconds")):
        frame[column] = [
            accuracies[row.strategy][row.seed] if column == "score" else fit_seconds[row.strategy]
            for row in frame.itertuples()
        ]
    results.runs["keeps"] = results.runs["strategy"].map(keeps)
    results.runs["estimator"] = [(estimators or {}).get(name, "SomeClassifier") for name in results.runs["strategy"]]
    return results


def found(results):
    return {f.title: f for f in findings.findings(results, leaderboard(results), "digits")}


def test_findings_name_the_best_the_cheapest_and_the_most_private():
    results = scored(
        {"Top": [0.99, 0.99, 0.99], "A": [0.90, 0.92, 0.94], "B": [0.89, 0.91, 0.93], "C": [0.5, 0.5, 0.51]},
        {"Top": 50.0, "A": 10.0, "B": 2.0, "C": 1.0},
        {"Top": "samples", "A": "samples", "B": "features", "C": "nothing"},
        {"Top": "JointClassifier"},
    )
    says = found(results)
    assert says["Most accurate"].strategy == "A"
    assert "below Top" in says["Most accurate"].text
    assert says["Cheapest that keeps up"].strategy == "B"
    assert "5.0 times faster than A" in says["Cheapest that keeps up"].text
    assert says["Best that keeps nothing of the data"].strategy == "C"
    assert "41.7 points below A, which keeps samples" in says["Best that keeps nothing of the data"].text


def test_findings_say_no_more_than_the_numbers_do():
    one_seed = scored({"A": [0.9], "B": [0.8]}, {"A": 2.0, "B": 1.0}, {"A": "samples", "B": "samples"})
    assert set(found(one_seed)) == {"Most accurate"}
    upper = scored({"Top": [0.9]}, {"Top": 1.0}, {"Top": "samples"}, {"Top": "CumulativeClassifier"})
    assert found(upper) == {}
    assert found(make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])) == {}


# The page


class Markup(HTMLParser):
    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.attributes, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check_markup(page):
    """Everything closes in order, ids are unique, references lead somewhere, nothing is loaded."""
    markup = Markup()
    markup.feed(page)
    markup.close()
    assert markup.open == []
    assert len(markup.ids) == len(set(markup.ids))
    assert markup.tags.count("script") == 1
    assert not {"link", "img", "iframe", "object", "embed", "image", "base", "form"} & set(markup.tags)
    for tag, name, value in markup.attributes:
        assert name not in {"src", "srcset", "data", "action", "poster", "background"}
        assert not name.startswith("on"), (tag, name)
        if name in {"href", "xlink:href"}:
            assert value[0] == "#"
            assert value[1:] in markup.ids
        for reference in re.findall(r"url\(([^)]*)\)", value):
            assert reference[0] == "#"
            assert reference[1:] in markup.ids
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?:|@import|url\((?!#)", without_namespaces, flags=re.IGNORECASE)
    return markup


def test_the_page_stands_alone_and_shows_everything(tmp_path):
    results = make_results(streams=("digits", "wine"), failed=[("EWC", 1)])
    page = html(results, tmp_path, title="A title & more")
    text = " ".join(" ".join(check_markup(page).text).split())
    assert "<title>A title &amp; more</title>" in page
    for expected in ("digits", "wine", "Joint", "EWC", "DER++", "a machine", "python 3.11", "2020-02-03", "0, 1, 2"):
        assert expected in text
    for metric in METRICS.values():
        assert metric.name in text
        assert metric.formula in text
        assert metric.source in text
    assert "ValueError: the loss is nan" in text
    assert "upper bound" in text
    assert page.count("<svg") == 4
    assert "prefers-color-scheme: dark" in page


def test_colours_of_figures_follow_the_page(tmp_path):
    page = html(make_results(), tmp_path)
    assert "var(--series-0)" in page
    assert "var(--ink)" in page
    assert not re.search("#0000[0a][0-9]", page)
    style = (files("forgetless.reports") / "templates" / "page.css").read_text(encoding="utf-8")
    for variable in set(re.findall(r"var\((--[a-z0-9-]+)[,)]", page)) - {"--v", "--c", "--low", "--high"}:
        assert style.count(f"{variable}:") in (1, 2), variable
    for k in range(figures_module.N_COLORS):
        assert style.count(f"--series-{k}:") == 2


def test_hostile_text_stays_text(tmp_path):
    results = replace(make_results(failed=[("EWC", 0)]), "EWC", HOSTILE)
    results = replace(results, "digits", HOSTILE + "stream")
    results.runs["error"] = results.runs["error"].where(results.runs["status"] == "ok", HOSTILE)
    for column in ("estimator", "family", "source", "params", "machine", "device", "versions", "keeps"):
        results.runs.loc[results.runs["strategy"] == HOSTILE, column] = HOSTILE
    page = html(results, tmp_path, title=HOSTILE)
    text = "".join(check_markup(page).text)
    assert "<script>alert(1)</script></svg></style>" in text
    assert "$x^2$" in text
    assert "{{ 7*7 }}" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)


def test_the_policy_of_the_page_allows_its_script_and_no_other(tmp_path):
    import base64
    import hashlib

    page = html(make_results(), tmp_path)
    script = re.search(r"<script>(.*)</script>", page, flags=re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_dollars_in_names_are_no_formula(tmp_path):
    page = html(replace(make_results(), "EWC", "cost $5$ or \\frac"), tmp_path)
    assert page.count("cost $5$ or \\frac") > 5


def test_the_same_results_give_the_same_bytes(tmp_path):
    code = (
        "from forgetless.reports import example_results, write_html; import sys;"
        "write_html(example_results(), sys.argv[1] if len(sys.argv) > 1 else {path!r})"
    )
    path = tmp_path / "other.html"
    python(code.format(path=str(path)), PYTHONHASHSEED="7")
    page = html(example_results(), tmp_path)
    assert page == html(example_results(), tmp_path)
    assert page == path.read_text(encoding="utf-8")


def test_matplotlib_is_left_as_it_was(tmp_path):
    code = (
        "import matplotlib as mpl, sys; mpl.rcParams['font.size'] = 3; before = mpl.rcParams.copy();"
        "from forgetless.reports import example_results, write_html; write_html(example_results(), {path!r});"
        # Asking for the backend would choose one, and import pyplot.
        "assert all(mpl.rcParams[k] == before[k] for k in before if k != 'backend');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    path = tmp_path / "other.html"
    assert python(code.format(path=str(path))).strip() == "False"
    assert path.read_text(encoding="utf-8") == html(example_results(), tmp_path)


def test_the_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(page_module.os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_html(example_results(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_file_has_usual_permissions(tmp_path):
    write_html(example_results(), tmp_path / "report.html")
    (tmp_path / "plain").touch()
    assert (tmp_path / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"The folder .*nowhere does not exist"):
        write_html(example_results(), tmp_path / "nowhere" / "report.html")


def test_low_class_incremental_accuracies_are_explained_only_where_they_occur(tmp_path):
    heading = "Why regularisation methods score so low"
    assert heading in html(make_results(), tmp_path)
    assert "1/T = 33.3 %" in html(make_results(), tmp_path)
    assert heading not in html(make_results(scenario="task"), tmp_path)
    assert heading not in html(make_results(strategies=["Joint", "DER++"]), tmp_path)


def test_many_strategies_stay_apart():
    looks = {figures_module.look(series) for series in range(56)}
    assert len(looks) == 56


def test_labels_keep_their_distance_and_order():
    rng = np.random.default_rng(0)
    for n in (1, 2, 25):
        values = np.round(rng.random(n), 1)
        places = np.array(figures_module.spread(values, 0.03, 0.0, 1.0))
        assert np.diff(np.sort(places)).min(initial=1) > 0.03 - 1e-6
        assert places.min() > -1e-9
        assert places.max() < 1 + 1e-9
        assert (np.diff(places[np.argsort(values, kind="stable")]) >= -1e-9).all()


def test_pareto_front():
    frame = pd.DataFrame(
        {"strategy": list("abcde"), "fit_seconds": [2, 1, 3, 1, math.nan], "average_accuracy": [0.5, 0.6, 0.9, 0.4, 1]}
    )
    assert figures_module.pareto(frame) == ["b", "c"]


def test_templates_are_package_data():
    names = {entry.name for entry in (files("forgetless.reports") / "templates").iterdir()}
    assert {"page.html", "page.css", "page.js"} <= names
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "templates/*" in project["tool"]["setuptools"]["package-data"]["forgetless.reports"]
