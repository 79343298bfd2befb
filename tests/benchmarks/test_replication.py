"""The replication ledger: what a claim says, what passes, what the page shows, and what is wrong in a file."""

import functools
import math
import re

import numpy as np
import pytest

from forgetless.benchmarks import Store, run_benchmark
from forgetless.benchmarks.command import main
from forgetless.benchmarks.replication import claims as verify
from forgetless.benchmarks.replication.claims import ClaimError, Outcome, choose, load_claims, read_source

CLAIMS = """
title = "Flowers"
reference = "Nobody 2020."
settings = "Irises as they are."
tolerance = 3.0
[net]
hidden_units = [8]
lr = 0.01
[[streams]]
name = "class"
dataset = "iris"
n_experiences = 3
[[streams]]
name = "task"
dataset = "iris"
n_experiences = 3
scenario = "task"
class_order = "sorted"
announce_classes = true
[[methods]]
name = "bayes"
estimator = "sklearn.naive_bayes.GaussianNB"
params = { var_smoothing = 1e-9 }
derivation = "Theirs has no smoothing."
numbers = [
  { stream = "class", published = 96.0, seconds = 1 },
  { stream = "task", published = 50.0, spread = 4.0, seconds = 1, note = "Their Bayes knew no tasks." },
]
[[methods]]
name = "net-1"
estimator = "ReplayClassifier"
params = { buffer_size = 10 }
net = { max_epochs = 1, batch_size = 16 }
preprocess = ["sklearn.preprocessing.StandardScaler"]
numbers = [{ stream = "task", at_least = 30.0, params = { replay_weight = 0.25 }, seconds = 2.4 }]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "flowers.toml").write_text(CLAIMS)
    return tmp_path


@pytest.fixture
def claims(folder):
    return load_claims(folder / "claims")


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Call ``forgetless verify`` in a folder where the claims are those above; returns exit code, output, errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(verify, "load_claims", functools.partial(load_claims, folder / "claims"))
    (folder / "docs").mkdir()

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["forgetless", "verify", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return command


# --- claims that come along --------------------------------------------------------------------------------------


def test_every_claim_that_comes_along_can_be_built():
    for claim in load_claims().values():
        estimator = claim.strategy_spec().build()
        low, high = claim.bounds
        assert 0 <= max(low, 0) < min(high, 101) <= 101
        assert {name: estimator.get_params()[name] for name in claim.params} == claim.params
        if "net" in estimator.get_params() and estimator.net is not None:
            assert estimator.net.get_params()["module__hidden_units"] == (400, 400)
        assert claim.stream_spec().dataset in ("mnist", "mnist32")


def test_the_published_tables_are_there():
    names = load_claims()
    for scenario in ("task", "domain", "class"):
        for method in ("naive", "L2", "replay-1100", "replay-4400", "EWC", "online-EWC", "SI", "MAS", "joint"):
            assert f"hsu2018/{method}/{scenario}" in names
        for method in ("naive", "EWC", "SI", "LwF", "replay", "generative-replay", "joint"):
            assert f"vandeven2022/{method}/{scenario}" in names
        for method in ("LwF", "generative-replay"):
            assert f"hsu2018/{method}/{scenario}-pairs" in names
    assert names["vandeven2022/iCaRL/class"].bounds == (90.5, 94.5)
    assert names["hsu2018/L2/domain"].bounds == pytest.approx((62.27, 69.73))
    assert names["usernumbers/replay/class"].bounds == (85, math.inf)


def test_streams_of_hsu_and_van_de_ven(data_home):
    claims = load_claims()
    stream = claims["hsu2018/naive/class"].stream_spec(str(data_home)).build(seed=3)
    assert [e.tolist() for e in stream.groups] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert (stream.n_features, stream.announces_classes) == (1024, True)
    orders = [
        np.concatenate(claims["vandeven2022/naive/domain"].stream_spec(str(data_home)).build(seed).groups).tolist()
        for seed in range(3)
    ]
    assert len(set(map(tuple, orders))) == 3


# --- reading -----------------------------------------------------------------------------------------------------


def test_a_claim_says_how_it_is_run(claims):
    assert list(claims) == ["flowers/bayes/class", "flowers/bayes/task", "flowers/net-1/task"]
    claim = claims["flowers/net-1/task"]
    replay = claim.strategy_spec().build().steps[-1][1]
    assert (replay.buffer_size, replay.replay_weight) == (10, 0.25)
    assert (replay.net.lr, replay.net.max_epochs, replay.net.batch_size) == (0.01, 1, 16)
    stream = claim.stream_spec().build(seed=5)
    assert (stream.scenario, stream.announces_classes, len(stream)) == ("task", True, 3)
    assert not claims["flowers/bayes/class"].stream_spec().build(0).announces_classes


def test_names(claims):
    assert [c.name for c in choose(claims, [])] == list(claims)
    assert [c.name for c in choose(claims, ["FLOWERS"])] == list(claims)
    assert [c.name for c in choose(claims, ["flowers/net-1", "flowers/Bayes/Task"])] == list(claims)[1:]
    for name, words in [
        ("flowers/bays", "no claim 'flowers/bays' .did you mean 'flowers/bayes'"),
        ("x", "no claim 'x' .known: flowers"),
        ("flowers/", "did you mean 'flowers'"),
        ("", "known: flowers"),
    ]:
        with pytest.raises(ClaimError, match=words):
            choose(claims, [name])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('title = "Flowers"', "", "the key 'title' is missing."),
        ("tolerance = 3.0", "tolerence = 3.0", "the key 'tolerence' is unknown (did you mean 'tolerance'?)."),
        ("tolerance = 3.0", "tolerance = 0", "'tolerance' is wrong: input should be greater than 0, not 0."),
        ("lr = 0.01", "lr = -1", "'lr' in net is wrong: input should be greater than 0, not -1."),
        ("lr = 0.01", "lrr = 0.1", "the key 'lrr' in net is unknown (did you mean 'lr'?)."),
        (
            "announce_classes",
            "announce",
            "the key 'announce' in number 2 of streams is unknown (did you mean 'announce_classes'?).",
        ),
        (
            "published = 96.0",
            "publishd = 96.0",
            "the key 'publishd' in number 1 of numbers in number 1 of methods is unknown (did you mean 'published'?).",
        ),
        (
            "published = 96.0",
            "note = ''",
            "what is in number 1 of numbers in number 1 of methods is wrong: "
            "give either 'published', or 'at_least' and 'at_most' or one of them.",
        ),
        (
            "at_least = 30.0",
            "at_least = 30.0, tolerance = 1.0",
            "what is in number 1 of numbers in number 2 of methods is wrong: "
            "'spread' and 'tolerance' belong to 'published', not to 'at_least' and 'at_most'.",
        ),
        (
            ", seconds = 2.4",
            "",
            "the key 'seconds' in number 1 of numbers in number 2 of methods is missing.",
        ),
        (
            "max_epochs = 1",
            "epochs = 1",
            "the key 'epochs' in net in number 2 of methods is unknown (did you mean 'max_epochs'?).",
        ),
        (
            '"net-1"',
            '"net 1"',
            "'name' in number 2 of methods is wrong: a name here has letters, digits and hyphens only.",
        ),
        ('"net-1"', '"bayes"', "'methods' is wrong: two have the name 'bayes'; give each its own name."),
        (
            'stream = "class"',
            'stream = "clas"',
            "what is there is wrong: bayes has a number for the stream 'clas' (did you mean 'class'?).",
        ),
        (
            'stream = "class"',
            'stream = "task"',
            "what is there is wrong: bayes has two numbers for the stream 'task'.",
        ),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path, old, new, sentence):
    assert old in CLAIMS
    path = tmp_path / "mine.toml"
    path.write_text(CLAIMS.replace(old, new, 1))
    with pytest.raises(ClaimError) as caught:
        read_source(path)
    assert str(caught.value) == f"In the claims {str(path)!r}, {sentence}"


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "cut.toml").write_text("title = ")
    for name, words in [(".", "Is a directory"), ("binary.toml", "are no TOML file"), ("cut.toml", "are no TOML file")]:
        with pytest.raises(ClaimError, match=words):
            read_source(tmp_path / name)


# --- pass and fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mean", "verdict"),
    [
        ("flowers/bayes/class", 93.0, "pass"),  # the tolerance of the source
        ("flowers/bayes/class", 99.0, "pass"),
        ("flowers/bayes/class", 92.9, "fail"),
        ("flowers/bayes/task", 54.0, "pass"),  # the published spread, which is larger
        ("flowers/bayes/task", 54.1, "fail"),
        ("flowers/net-1/task", 30.0, "pass"),
        ("flowers/net-1/task", 29.9, "fail"),
    ],
)
def test_verdicts(claims, name, mean, verdict):
    found = Outcome(claims[name], 3, mean, mean - 9, mean + 9)
    assert found.verdict == verdict
    assert found.holds == (verdict == "pass" or name == "flowers/bayes/task")  # which has a note
    assert Outcome(claims[name]).verdict == "not run"
    assert not Outcome(claims[name]).holds
    broken = Outcome(claims[name], 3, mean, error="ValueError: no")
    assert (broken.verdict, broken.holds) == ("error", False)


@pytest.mark.parametrize(
    ("number", "bounds", "target"),
    [
        ({"published": 50.0, "spread": 0.1}, (47, 53), "50.0 ± 0.1"),
        ({"published": 50.0, "spread": 9.0, "tolerance": 0.5}, (49.5, 50.5), "50.0 ± 9.0"),
        ({"published": 99.0}, (96, 100), "99.0"),
        ({"at_least": 50.0}, (50, math.inf), "≥ 50.0"),
        ({"at_most": 50.0}, (-math.inf, 50), "≤ 50.0"),
        ({"at_least": 50.0, "at_most": 60.0}, (50, 60), "50.0–60.0"),
    ],
)
def test_bounds(claims, number, bounds, target):
    claim = claims["flowers/bayes/class"]
    claim = verify.Claim("flowers", claim.source, claim.method, verify.Number(stream="class", seconds=1, **number))
    assert (claim.bounds, claim.target) == (bounds, target)


# --- running -----------------------------------------------------------------------------------------------------


def test_outcomes_are_those_of_the_harness(claims, tmp_path):
    chosen = choose(claims, ["flowers/net-1"])
    claim = chosen[0]
    with Store(tmp_path / "a.db") as store:
        assert [each.verdict for each in verify.outcomes(claims.values(), store)] == ["not run"] * 3
        results = run_benchmark(
            {"x": claim.strategy_spec()},
            {"y": claim.stream_spec()},
            seeds=[4, 1],
            n_jobs=1,
            store=store,
            progress=False,
        )
        found = verify.outcomes(claims.values(), store)
    last = results.scores.query("trained_on == 2").groupby("seed")["score"].mean() * 100
    assert [each.verdict for each in found] == ["not run", "not run", "pass"]
    assert found[2].n_seeds == 2
    assert found[2].mean == pytest.approx(last.mean())
    half = 12.7062 * last.std() / math.sqrt(2)  # Student's t, one degree of freedom
    assert (found[2].low, found[2].high) == pytest.approx((last.mean() - half, last.mean() + half), rel=1e-4)


def test_plan_has_each_cell_once_and_a_seed_of_all_before_the_next(claims):
    cells = verify.plan([*claims.values(), *claims.values()], seeds=2)
    assert [cell.seed for cell in cells] == [0, 0, 0, 1, 1, 1]
    assert [f"{cell.strategy} {cell.stream}" for cell in cells[:3]] == [
        "flowers/bayes flowers/class",
        "flowers/bayes flowers/task",
        "flowers/net-1 flowers/task",
    ]


def test_the_command_runs_what_is_asked_and_writes_the_page_of_everything(command, folder):
    code, out, err = command("flowers/bayes", "--seeds", "2", "--n-jobs", "1")
    assert code == 0  # what fails has a note
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "claim",
        "flowers/bayes/class",
        "flowers/bayes/task",
        "The page is docs/replication.md.",
    ]
    assert re.search(r"bayes/class +96\.0 +9\d\.\d ± \d\.\d +2 +pass\n", out)
    assert re.search(r"bayes/task +50\.0 ± 4\.0 +\d+\.\d ± \d\.\d +2 +fail, explained\n", out)

    page = (folder / "docs" / "replication.md").read_text("utf-8")
    assert "**1 pass, 1 fail, 1 not run.**\n\nMeasured on the CPU with python 3." in page
    assert "## Flowers\n\nNobody 2020.\n\nIrises as they are.\n\n| method |" in page
    assert re.search(r"\n\| bayes \| class \| 96\.0 \| 93\.0–99\.0 \| 9\d\.\d ± \d\.\d \| 2 \| pass \|\n", page)
    assert re.search(r"\n\| bayes \| task \| 50\.0 ± 4\.0 \| 46\.0–54\.0 \| .* \| 2 \| \*\*fail\*\* \(1\) \|\n", page)
    assert "\n| net-1 | task | ≥ 30.0 | ≥ 30.0 | – | 0 | not run |\n" in page
    assert "\n\n(1) Their Bayes knew no tasks.\n\nSettings:\n" in page
    assert "`sklearn.naive_bayes.GaussianNB(var_smoothing=1e-09)`. Theirs has no smoothing." in page
    assert (
        "`ReplayClassifier(buffer_size=10, net__max_epochs=1, net__batch_size=16)`; task: `replay_weight=0.25`" in page
    )

    # More seeds of another claim: the page has all that the store has, and nothing is run twice.
    code, out, err = command("flowers/net-1", "--seeds", "3", "--n-jobs", "1")
    assert code == 0
    again = (folder / "docs" / "replication.md").read_text("utf-8")
    assert [line for line in again.splitlines() if "| bayes" in line] == [
        line for line in page.splitlines() if "| bayes" in line
    ]
    assert re.search(r"\n\| net-1 \| task \| ≥ 30\.0 \| ≥ 30\.0 \| .* \| 3 \| pass \|\n", again)
    code, out, err = command("--seeds", "2", "--n-jobs", "1")
    assert "6 of 6 cells are in verify.db already" in err
    assert (folder / "docs" / "replication.md").read_text("utf-8") == again


def test_the_command_fails_where_a_number_does_not_come_out_and_nobody_knows_why(command, folder):
    path = folder / "claims" / "flowers.toml"
    path.write_text(CLAIMS.replace("published = 96.0", "published = 20.0"))
    code, out, _ = command("flowers/bayes/class", "--seeds", "1", "--n-jobs", "1")
    assert code == 1
    assert re.search(r"bayes/class +20\.0 +\d+\.\d +1 +fail\n", out)
    path.write_text(CLAIMS.replace("buffer_size = 10", "buffer_size = -1"))
    code, out, _ = command("flowers/net-1", "--seeds", "1", "--n-jobs", "1")
    assert code == 1
    assert "error: InvalidParameterError" in out
    assert "| **error** |" in (folder / "docs" / "replication.md").read_text("utf-8")


def test_the_command_lists_and_runs_nothing(command, folder):
    code, out, _ = command("--list", "flowers/net-1")
    assert code == 0
    assert out.splitlines() == [
        "claim               published  seconds a run",
        "flowers/net-1/task  ≥ 30.0                 2",
    ]
    assert not (folder / "verify.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flower"], "There is no claim 'flower' (did you mean 'flowers'?)."),
        (["--n-jobs", "0"], "--n-jobs is 0"),
        (["--output", "no/page.md"], "there is no folder"),
        (["--output", "verify.db"], "would overwrite the store"),
    ],
)
def test_bad_input(command, folder, arguments, words):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not (folder / "verify.db").exists()
