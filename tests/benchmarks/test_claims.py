"""Claims: those that come along are complete; a wrong file gets one sentence that names the place and the right key."""

import math
import re

import numpy as np
import pytest
from helpers.claims import CLAIMS, ONLINE

from forgetless.benchmarks.replication.claims import Claim, ClaimError, Number, choose, load_claims, read_source
from forgetless.benchmarks.runs.protocol import Protocol


def test_every_claim_that_comes_along_can_be_built():
    for claim in load_claims().values():
        estimator = claim.strategy_spec().build()
        low, high = claim.bounds
        assert max(low, -100) < min(high, 100)
        assert claim.number.since or 0 < min(high, 100) <= 100
        assert {name: estimator.get_params()[name] for name in claim.params} == claim.params
        if "net" in estimator.get_params() and estimator.net is not None:
            assert estimator.net.get_params()["module__hidden_units"] == tuple(claim.source.net.hidden_units)
        assert claim.stream_spec().dataset in ("mnist", "mnist32")
        assert claim.seeds >= 3


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
    assert names["dohare2024/SGD/online/42"].bounds == (89, 91)
    assert names["plasticity/SGD/suite/50-59-since-0-9"].bounds == (-math.inf, -4)


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


def test_a_number_may_be_about_some_experiences(claims_folder):
    (claims_folder / "online.toml").write_text(ONLINE)
    claims = choose(load_claims(claims_folder), ["online/bayes/permuted"])
    assert [claim.name for claim in claims] == [
        "online/bayes/permuted/0",
        "online/bayes/permuted/2-3-since-0-1",
    ]
    for claim in claims:
        assert claim.protocol() == Protocol("prequential", eval_every=20)
        stream = claim.stream_spec().build(seed=0)
        assert (stream.scenario, len(stream)) == ("domain", 4)
    assert claims[1].target == "≤ −5.0"
    assert [each.name for each in choose(load_claims(claims_folder), ["online/bayes/permuted/0"])] == [claims[0].name]
    assert load_claims(claims_folder)["flowers/bayes/class"].protocol() == Protocol()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[0, 0]",
            "[0]",
            "'experiences' in number 1 of numbers in number 1 of methods is wrong: list should have at least",
        ),
        (
            "[0, 1]",
            "[1, 0]",
            "'since' in number 2 of numbers in number 1 of methods is wrong: give the first experience",
        ),
        ("experiences = [2, 3], ", "", "'since' needs 'experiences'"),
        ("since = [0, 1]", "since = [0, 4]", "bayes has a number for experience 4 of the stream 'permuted'"),
        ("experiences = [0, 0], ", "", "'experiences' belong to a stream with 'eval_every', and only to one"),
        ("eval_every = 20", "", "'experiences' belong to a stream with 'eval_every', and only to one"),
        ("[2, 3], since = [0, 1]", "[0, 0]", "bayes has two numbers for the stream 'permuted/0'"),
        ("n_experiences", "n_experience", "the key 'n_experience' in number 1 of streams is unknown (did you mean"),
        ('"permuted"\nn_exp', '"rotated"\nn_exp', "what is in number 1 of streams is wrong: input tag 'rotated'"),
    ],
)
def test_what_is_wrong_about_experiences(tmp_path, old, new, sentence):
    assert old in ONLINE
    path = tmp_path / "online.toml"
    path.write_text(ONLINE.replace(old, new, 1))
    with pytest.raises(ClaimError, match=re.escape(sentence)):
        read_source(path)


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
    claim = Claim("flowers", claim.source, claim.method, Number(stream="class", seconds=1, **number))
    assert (claim.bounds, claim.target) == (bounds, target)


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
