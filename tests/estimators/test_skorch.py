"""What skorch offers, in the fast loop: each part works as in skorch's own loop, or is refused.

The list below is the table in ``docs/skorch.md``; this file, run as a program, writes it.
"""

import copy
import json
import os
import pickle
import signal
import threading
from collections.abc import Callable as Function
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, make_scorer
from sklearn.model_selection import ShuffleSplit, StratifiedKFold
from skorch import NeuralNet, callbacks
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
    WarmRestartLR,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Subset

from forgetless.datasets import load_digits
from forgetless.estimators import MLP, ContinualNet, EWCClassifier, LaMAMLClassifier, NaiveClassifier, ReplayClassifier

DIGITS = load_digits()
X, Y = DIGITS.X_train[:300], DIGITS.y_train[:300]
DOCS = Path(__file__).parents[2] / "docs" / "skorch.md"


class SkorchLoop(ContinualNet):
    """The same net with skorch's own loop."""

    fit_loop = NeuralNet.fit_loop


class Sink:
    """Notes what it is told, in whatever words; copies are itself."""

    def __init__(self):
        self.told = []

    def __deepcopy__(self, memo):
        return self

    def __getattr__(self, name):
        if name.startswith("__") or name == "get_params":
            raise AttributeError(name)
        return lambda *args, **kwargs: self.told.append((name, args))

    def __call__(self, *args):
        self.told.append(("print", args))


class NumberOfBatch(Callback):
    """Records a value for each batch."""

    def on_batch_end(self, net, training, **kwargs):
        net.history.record_batch("number", len(net.history[-1, "batches"]))


class Loader(torch.utils.data.DataLoader):
    """A loader of one's own."""


class OwnDataset(Dataset):
    """A dataset of one's own."""


def halve(p):
    p.data.mul_(0.5)


def every_epoch(net):
    return halve


def last_fifth(dataset, y=None, **kwargs):
    n = len(dataset)
    return Subset(dataset, range(n - n // 5)), Subset(dataset, range(n - n // 5, n))


def nested(dataset, y=None, **kwargs):
    train, valid = last_fifth(dataset)
    return Subset(train, range(1, len(train))), valid


def all_and_part(dataset, y=None, **kwargs):
    return dataset, Subset(dataset, range(10))


@dataclass
class Part:
    """Something that skorch or torch offers, and how it fares here."""

    kind: str
    name: str
    params: Function[[Path], dict[str, Any]]
    works: bool = True
    note: str = ""
    error: str = ""
    columns: tuple[str, ...] = ()
    # Where skorch's own loop can do it, too, and the same.
    as_skorch: bool = True
    check: Function[[Any, Path], None] = field(default=lambda clf, path: None)


log_loss_of_ten = make_scorer(log_loss, response_method="predict_proba", labels=range(10))
SPLIT = {"train_split": ValidSplit(4)}


def with_callbacks(*given: Any, **params: Any) -> Function[[Path], dict[str, Any]]:
    return lambda path: {**SPLIT, "callbacks": [copy.deepcopy(each) for each in given], **params}


def scheduler(policy: Any, lr: float = 0.01, **params: Any) -> Function[[Path], dict[str, Any]]:
    return with_callbacks(LRScheduler(policy, **params), lr=lr)


def accuracy(name: str = "valid_acc", **params: Any) -> EpochScoring:
    return EpochScoring("accuracy", name=name, lower_is_better=False, **params)


def told(clf: Any, path: Path, name: str) -> None:
    sinks = [v for _, c in clf.net_.callbacks_ for v in vars(c).values() if isinstance(v, Sink)]
    assert any(word == name for sink in sinks for word, _ in sink.told)


def scored(name: str) -> Function[[Any, Path], None]:
    def check(clf: Any, path: Path) -> None:
        values = clf.net_.history[:, name]
        assert all(0 <= value <= 1 for value in values) and values[-1] > 0.5  # of ten classes

    return check


def saved(clf: Any, path: Path) -> None:
    """What was saved is what the net was: its parameters, and how many steps its optimiser had made."""
    parameters = torch.load(path / "params.pt", weights_only=True)
    assert parameters["head.weight"].shape == (10, 12)
    state = torch.load(path / "optimizer.pt", weights_only=True)["state"]
    history = json.loads((path / "history.json").read_text())
    steps = sum(clf.net_.history[: len(history), "train_batch_count"])
    n_rows_of_first_call = int(np.sum(Y < 5) * 3 / 4)
    steps += 3 * -(-n_rows_of_first_call // 40)
    assert {int(entry["step"]) for entry in state.values()} == {steps}


def best_is_back(clf: Any, path: Path) -> None:
    parameters = torch.load(path / "params.pt", weights_only=True)
    for name, p in clf.net_.module_.state_dict().items():
        assert torch.equal(parameters[name], p)


def clipped(clf: Any, path: Path) -> None:
    plain = EWCClassifier(make_net(**{"lr": 0.05, **SPLIT}), random_state=0)
    learn_twice(plain)
    assert not torch.equal(plain.net_.flatten(), clf.net_.flatten())


def setting(name: str, value: Any, note: str = "", error: str = "", title: str = "") -> Part:
    return Part(
        "Setting", title or f"{name}={value!r}", lambda path: {name: value}, not error, note, error, as_skorch=False
    )


IN_MEMORY = "Batches of `batch_size` rows are drawn in random order from memory. Prepare rows before `partial_fit`."

PARTS = [
    Part(
        "Callback",
        "EpochScoring",
        with_callbacks(accuracy()),
        columns=("valid_acc", "valid_acc_best"),
        check=scored("valid_acc"),
        note="Labels are the numbers of the network's outputs, in the order in which classes came.",
    ),
    Part(
        "Callback",
        "EpochScoring(use_caching=False)",
        with_callbacks(accuracy(use_caching=False)),
        columns=("valid_acc",),
        check=scored("valid_acc"),
    ),
    Part(
        "Callback",
        "EpochScoring(on_train=True)",
        with_callbacks(accuracy("train_acc", on_train=True, use_caching=False)),
        columns=("train_acc",),
        check=scored("train_acc"),
    ),
    Part(
        "Callback",
        "EpochScoring(on_train=True), cached",
        with_callbacks(accuracy("train_acc", on_train=True)),
        columns=("train_acc",),
        note="Of the outputs before each step, in training mode, as in skorch.",
    ),
    Part(
        "Callback",
        "EpochScoring of probabilities",
        with_callbacks(EpochScoring(log_loss_of_ten, name="log_loss")),
        columns=("log_loss",),
        as_skorch=True,
        note="Tell the scorer all labels, where a call's rows lack some of those that are announced or known.",
    ),
    Part(
        "Callback",
        "EpochScoring of a function",
        with_callbacks(EpochScoring(make_scorer(accuracy_score), name="f", lower_is_better=False)),
        columns=("f",),
        check=scored("f"),
    ),
    Part(
        "Callback",
        "BatchScoring",
        with_callbacks(BatchScoring("accuracy", name="b", lower_is_better=False)),
        columns=("b", "b_best"),
        check=scored("b"),
    ),
    Part(
        "Callback",
        "BatchScoring(on_train=True)",
        with_callbacks(BatchScoring("accuracy", name="b", lower_is_better=False, on_train=True)),
        columns=("b",),
    ),
    Part(
        "Callback",
        "PassthroughScoring",
        with_callbacks(NumberOfBatch(), PassthroughScoring("number", on_train=True)),
        columns=("number", "number_best"),
    ),
    Part("Callback", "EpochTimer", with_callbacks(EpochTimer()), columns=("dur",)),
    Part("Callback", "PrintLog", with_callbacks(PrintLog(sink=Sink())), check=partial(told, name="print")),
    Part("Callback", "ProgressBar", with_callbacks(ProgressBar(detect_notebook=False))),
    Part(
        "Callback",
        "Checkpoint",
        lambda path: {**SPLIT, "callbacks": [Checkpoint(dirname=str(path))]},
        columns=("event_cp",),
        check=saved,
        note="The best epoch of each call, or of each experience with a score of one's own. It holds the network, not "
        "what a method remembers: pickle the estimator for that.",
    ),
    Part(
        "Callback",
        "Checkpoint(load_best=True)",
        lambda path: {**SPLIT, "callbacks": [Checkpoint(dirname=str(path), load_best=True, f_criterion=None)]},
        columns=("event_cp",),
        check=best_is_back,
    ),
    Part(
        "Callback",
        "Checkpoint of a score",
        lambda path: {
            **SPLIT,
            "callbacks": [accuracy(), Checkpoint("valid_acc_best", dirname=str(path), f_pickle="net.pkl")],
        },
        columns=("event_cp",),
        check=lambda clf, path: pickle.loads((path / "net.pkl").read_bytes()).predict(X),
    ),
    Part(
        "Callback",
        "TrainEndCheckpoint",
        lambda path: {**SPLIT, "callbacks": [TrainEndCheckpoint(dirname=str(path))]},
        check=lambda clf, path: torch.load(path / "train_end_params.pt", weights_only=True),
    ),
    Part(
        "Callback",
        "LoadInitState",
        lambda path: {"callbacks": [LoadInitState(Checkpoint(dirname=str(path)))]},
        works=False,
        error="pickle the estimator",
        note="It would load the weights anew in each experience. Pickle the estimator, or give the net a module that "
        "has the weights.",
    ),
    Part(
        "Callback",
        "EarlyStopping",
        with_callbacks(EarlyStopping(patience=1, threshold=0.3, sink=Sink()), max_epochs=30),
        check=lambda clf, path: len(clf.net_.history) < 30 or pytest.fail("did not stop"),
        note="In each call by itself.",
    ),
    Part(
        "Callback",
        "EarlyStopping of the training loss",
        with_callbacks(EarlyStopping("train_loss", patience=1, threshold=0.3, sink=Sink()), max_epochs=30),
        check=lambda clf, path: len(clf.net_.history) < 30 or pytest.fail("did not stop"),
    ),
    Part(
        "Callback",
        "EarlyStopping of a score",
        with_callbacks(
            accuracy(), EarlyStopping("valid_acc", patience=2, lower_is_better=False, sink=Sink()), max_epochs=30
        ),
        check=lambda clf, path: len(clf.net_.history) < 30 or pytest.fail("did not stop"),
    ),
    Part(
        "Callback",
        "EarlyStopping(load_best=True)",
        with_callbacks(
            EarlyStopping("train_loss", patience=1, threshold=0.3, load_best=True, sink=Sink()), max_epochs=30
        ),
    ),
    *(
        Part("Callback", f"LRScheduler({policy!r})", scheduler(policy, **params), columns=("event_lr",))
        for policy, params in {
            "StepLR": {"step_size": 1, "gamma": 0.5},
            "MultiStepLR": {"milestones": [1, 2]},
            "ExponentialLR": {"gamma": 0.5},
            "CosineAnnealingLR": {"T_max": 3},
            "LambdaLR": {"lr_lambda": [lambda epoch: 0.5**epoch]},
            "WarmRestartLR": {"base_period": 2},
        }.items()
    ),
    Part(
        "Callback",
        "LRScheduler('ReduceLROnPlateau')",
        scheduler("ReduceLROnPlateau", lr=10.0, monitor="valid_loss", patience=0),
        columns=("event_lr",),
    ),
    Part(
        "Callback",
        "LRScheduler('CyclicLR', step_every='batch')",
        scheduler("CyclicLR", base_lr=0.001, max_lr=0.01, step_size_up=2, step_every="batch", cycle_momentum=False),
    ),
    Part(
        "Callback",
        "LRScheduler(OneCycleLR, step_every='batch')",
        scheduler(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=50, step_every="batch"),
    ),
    Part(
        "Callback",
        "WarmRestartLR",
        scheduler(WarmRestartLR, base_period=2),
        columns=("event_lr",),
        note="The policy of an LRScheduler.",
    ),
    Part(
        "Callback",
        "Freezer",
        lambda path: {"callbacks": [Freezer("hidden.*")]},
        works=False,
        error="requires_grad=False",
        note="What a method remembers is about the parameters that are trained. Give a module whose parameters have "
        "`requires_grad=False`, or use FrozenClassifier.",
    ),
    Part(
        "Callback",
        "Unfreezer",
        lambda path: {"module": frozen_module(), "callbacks": [Unfreezer("hidden.*")]},
        works=False,
        error="requires_grad=False",
        note="As Freezer.",
    ),
    Part(
        "Callback",
        "ParamMapper",
        with_callbacks(ParamMapper("*", schedule=every_epoch)),
        note="`at` counts the epochs of the experience, so it happens in each again.",
    ),
    Part(
        "Callback",
        "Initializer",
        lambda path: {"callbacks": [Initializer("*", fn=nn.init.zeros_)]},
        works=False,
        error="initialise them where",
        note="It would initialise the weights anew in each experience. Initialise them in the module.",
    ),
    Part(
        "Callback",
        "GradientNormClipping",
        with_callbacks(GradientNormClipping(0.01)),
        check=clipped,
        note="Clips after the method has changed the gradient. LaMAMLClassifier makes its own steps, and refuses it.",
    ),
    Part(
        "Callback",
        "InputShapeSetter",
        lambda path: {"module": WithInputDim, "callbacks": [InputShapeSetter()]},
        works=False,
        error="n_inputs",
        note="It makes another module once the first is there. A module whose parameter is named `n_inputs` is given "
        "the number of features.",
    ),
    Part(
        "Callback",
        "TensorBoard",
        with_callbacks(TensorBoard(Sink())),
        check=partial(told, name="add_scalar"),
        note="As all loggers: a net is copied, so where the writer cannot be, make it in a callback's `initialize`.",
    ),
    Part(
        "Callback",
        "SacredLogger",
        with_callbacks(SacredLogger(Sink(), log_on_batch_end=True)),
        check=partial(told, name="log_scalar"),
    ),
    Part(
        "Callback",
        "MlflowLogger",
        lambda path: {**SPLIT, "callbacks": [mlflow()]},
        check=partial(told, name="log_metric"),
    ),
    Part(
        "Callback",
        "WandbLogger",
        with_callbacks(WandbLogger(Sink(), save_model=False)),
        check=partial(told, name="log"),
    ),
    Part("Split", "None", lambda path: {"train_split": None}),
    Part(
        "Split", "ValidSplit(5)", lambda path: {"train_split": ValidSplit(5)}, columns=("valid_loss", "valid_loss_best")
    ),
    Part(
        "Split",
        "ValidSplit(0.2)",
        lambda path: {"train_split": ValidSplit(0.2)},
        columns=("valid_loss",),
        as_skorch=False,
        note="Without a `random_state` of its own, drawn by the estimator's.",
    ),
    Part(
        "Split",
        "ValidSplit(0.2, random_state=0)",
        lambda path: {"train_split": ValidSplit(0.2, random_state=0)},
        columns=("valid_loss",),
    ),
    Part(
        "Split",
        "ValidSplit(3, stratified=True)",
        lambda path: {"train_split": ValidSplit(3, stratified=True)},
        columns=("valid_loss",),
    ),
    Part(
        "Split",
        "ValidSplit(0.2, stratified=True, random_state=0)",
        lambda path: {"train_split": ValidSplit(0.2, stratified=True, random_state=0)},
        columns=("valid_loss",),
    ),
    Part(
        "Split",
        "ValidSplit(StratifiedKFold(3))",
        lambda path: {"train_split": ValidSplit(StratifiedKFold(3), stratified=True)},
        columns=("valid_loss",),
    ),
    Part(
        "Split",
        "ValidSplit(ShuffleSplit())",
        lambda path: {"train_split": ValidSplit(ShuffleSplit(random_state=0))},
        columns=("valid_loss",),
    ),
    Part(
        "Split", "a function that returns two Subset", lambda path: {"train_split": last_fifth}, columns=("valid_loss",)
    ),
    Part("Split", "Subset of Subset", lambda path: {"train_split": nested}, columns=("valid_loss",)),
    Part(
        "Split",
        "a function that returns all and a Subset",
        lambda path: {"train_split": all_and_part},
        columns=("valid_loss",),
    ),
    Part(
        "Split",
        "predefined_split",
        lambda path: {"train_split": predefined_split(Dataset(X, Y))},
        works=False,
        error="ValidSplit",
        note="Rows of its own may have classes that are not known yet. With a net alone, without a strategy, it works.",
    ),
    setting("iterator_train__shuffle", True),
    setting("iterator_train__num_workers", 2, "And what else says how a loader loads: there is nothing to load."),
    setting("iterator_valid__batch_size", 50),
    setting("iterator_train__shuffle", False, IN_MEMORY, "random order"),
    setting("iterator_train__drop_last", True, "As `shuffle`.", "random order"),
    setting("iterator_train__sampler", [0, 1], "As `shuffle`.", "random order", title="iterator_train__sampler=..."),
    setting("iterator_train__batch_size", 10, "As `shuffle`.", "the net's batch_size counts"),
    setting("iterator_train", Loader, "As `shuffle`.", "random order", title="iterator_train=..., iterator_valid=..."),
    setting("dataset", OwnDataset, "As `shuffle`.", "prepared before partial_fit", title="dataset=..."),
    setting(
        "predict_nonlinearity",
        torch.sigmoid,
        "Let the module return logits, or probabilities with `NLLLoss`.",
        "NLLLoss",
        title="predict_nonlinearity=...",
    ),
    setting("classes", range(10), "Announce them: `partial_fit(X, y, classes=...)`.", "announce", title="classes=..."),
]


def mlflow() -> MlflowLogger:
    class Run:
        class info:
            run_id = "0"

    return MlflowLogger(run=Run, client=Sink(), create_artifact=False)


def frozen_module() -> nn.Module:
    module = MLP(64, 10, hidden_units=(12,))
    module.hidden.requires_grad_(False)
    return module


class WithInputDim(nn.Module):
    def __init__(self, input_dim=1, n_outputs=10):
        super().__init__()
        self.head = nn.Linear(input_dim, n_outputs)

    def forward(self, x):
        return self.head(x)


def make_net(net=ContinualNet, module=MLP, **params):
    hidden = {"module__hidden_units": (12,)} if module is MLP else {}
    return net(module, **hidden, **{"lr": 0.01, "max_epochs": 3, "batch_size": 40, **params})


def learn_twice(clf):
    """Classes 0 to 4, and then all, of ten that are announced."""
    clf.partial_fit(X[Y < 5], Y[Y < 5], classes=np.arange(10))
    return clf.partial_fit(X, Y)


LEARNING = ["get_loss", "train_step", "train_step_single", "run_single_epoch", "fit_loop", "validation_step"]
EVENTS = ["on_batch_begin", "on_batch_end", "on_grad_computed"]
ANSWERING = ["evaluation_step", "infer", "predict", "predict_proba", "get_iterator", "get_dataset"]
WORKS = [pytest.param(part, id=part.name) for part in PARTS if part.works]
ids_of = [pytest.param(part, id=part.name) for part in PARTS if not part.works]


@pytest.mark.parametrize("part", WORKS)
@pytest.mark.parametrize("cls", [EWCClassifier, ReplayClassifier])  # one looks back after training, one in each step
@pytest.mark.filterwarnings("ignore")
def test_part_works_in_a_strategy(cls, part, tmp_path):
    clf = cls(make_net(**{"lr": 0.05, **part.params(tmp_path)}), random_state=0)
    learn_twice(clf)
    assert {*part.columns} <= {*clf.net_.history[-1]}
    if cls is EWCClassifier:
        part.check(clf, tmp_path)
    assert clf.net_.inactive_outputs_ is None
    pickle.dumps(clf.net_.module_)


@pytest.mark.parametrize("part", [p for p in WORKS if p.values[0].as_skorch])
@pytest.mark.filterwarnings("ignore")
def test_part_does_what_it_does_in_skorchs_own_loop(part, tmp_path):
    """All rows in one batch, so that their order means nothing: the histories are the same."""
    nets = []
    for kind in (ContinualNet, SkorchLoop):
        (tmp_path / kind.__name__).mkdir()
        params = {**part.params(tmp_path / kind.__name__), "batch_size": -1}
        torch.manual_seed(0)
        nets.append(make_net(kind, module__n_inputs=64, module__n_outputs=10, **params).fit(X, Y))
    fast, own = nets
    # To be told of batches costs time, so the fast loop does so only where somebody listens.
    columns = {*own.history[-1]} - {"dur", "valid_batch_count"}
    assert columns <= {*fast.history[-1]} and len(fast.history) == len(own.history)
    for column in columns - {"batches"}:
        np.testing.assert_allclose(fast.history[:, column], own.history[:, column], rtol=1e-3, err_msg=column)
    if fast.history[-1, "batches"]:
        assert len(fast.history[-1, "batches"]) == len(own.history[-1, "batches"])
        for mine, theirs in zip(fast.history[-1, "batches"], own.history[-1, "batches"], strict=True):
            assert mine.keys() == theirs.keys()
            np.testing.assert_allclose([*mine.values()], [*theirs.values()], rtol=1e-3)
    torch.testing.assert_close(fast.flatten(), own.flatten(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("part", ids_of)
def test_part_is_refused_with_what_to_do(part, tmp_path):
    clf = NaiveClassifier(make_net(**part.params(tmp_path)), random_state=0)
    with pytest.raises((ValueError, RuntimeError), match=part.error):
        learn_twice(clf)
    assert not hasattr(clf, "net_")


@pytest.mark.parametrize("name", LEARNING + ANSWERING + EVENTS)
def test_method_that_the_loop_would_not_call_is_refused(name):
    class Mine(ContinualNet):
        pass

    setattr(Mine, name, lambda self, *args, **kwargs: None)
    with pytest.raises(ValueError, match=f"Mine overrides {name}, which .* does not call; "):
        NaiveClassifier(make_net(Mine), random_state=0).fit(X, Y)


def test_what_is_set_later_is_refused_as_at_the_first_call():
    clf = NaiveClassifier(make_net(), random_state=0).partial_fit(X, Y)
    for params in ({"net__iterator_train__shuffle": False}, {"net__callbacks": [Initializer("*", fn=nn.init.zeros_)]}):
        twin = copy.deepcopy(clf).set_params(**params)
        with pytest.raises(ValueError, match=r"random order|initialise them where"):
            twin.partial_fit(X, Y)
        assert twin.n_experiences_ == 1


def test_a_failed_call_leaves_callbacks_as_they_were(tmp_path):
    class Notes(Callback):
        def initialize(self):
            self.notes_, self.n_ = [], 0
            return self

        def on_epoch_end(self, net, **kwargs):
            self.notes_.append(net.history[-1, "train_loss"])
            self.n_ += 1
            if len(net.history) == 3:
                raise RuntimeError("no more")

    scored = accuracy("acc", on_train=True, use_caching=False)
    checkpoint = Checkpoint("acc_best", dirname=str(tmp_path), load_best=True)
    clf = NaiveClassifier(make_net(callbacks=[scored, checkpoint, Notes()], max_epochs=2), random_state=0)
    clf.partial_fit(X, Y, task_id="a")
    callbacks = dict(clf.net_.callbacks_)
    best, notes = callbacks["EpochScoring"].best_score_, callbacks["Notes"].notes_
    before = notes.copy()
    with pytest.raises(RuntimeError, match="no more"):
        clf.set_params(net__max_epochs=3).partial_fit(X[Y == 0], Y[Y == 0], task_id="a")
    assert callbacks["EpochScoring"].best_score_ == best
    assert callbacks["Notes"].notes_ is notes and notes == before and callbacks["Notes"].n_ == len(before) == 2


def test_every_public_callback_of_skorch_is_in_the_table():
    named = {part.name.partition("(")[0].split()[0] for part in PARTS}
    assert {*callbacks.__all__} - named == {"Callback", "NeptuneLogger"}  # the base, and one that needs its package


def test_predefined_split_works_with_a_net_alone():
    torch.manual_seed(0)
    net = make_net(module__n_inputs=64, module__n_outputs=10, train_split=predefined_split(Dataset(X[:50], Y[:50])))
    net.fit(X[50:], Y[50:])
    assert "valid_loss" in net.history[-1]


def test_random_split_is_drawn_by_the_estimators_seed():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    one, other = (learn_twice(NaiveClassifier(make_net(train_split=ValidSplit(0.2)), random_state=0)) for _ in range(2))
    assert one.net_.history[:, "valid_loss"] == other.net_.history[:, "valid_loss"]
    assert np.array_equal(before, np.random.get_state()[1])


def test_answers_are_among_the_active_outputs():
    """With announced classes, untrained outputs are no answers of the scores, cached or not, nor in NLLLoss."""

    class Softmax(nn.Sequential):
        def __init__(self, n_inputs, n_outputs):
            super().__init__(nn.Linear(n_inputs, n_outputs), nn.Softmax(dim=1))
            nn.init.zeros_(self[0].weight)
            nn.init.constant_(self[0].bias, 0.0)
            with torch.no_grad():
                self[0].bias[5:] = 4.0  # untrained outputs shout

    scores = [accuracy("cached"), accuracy("asked", use_caching=False), EpochScoring(log_loss_of_ten, name="loss")]
    for criterion in (nn.NLLLoss, nn.CrossEntropyLoss):
        module = Softmax if criterion is nn.NLLLoss else MLP
        net = make_net(module=module, criterion=criterion, callbacks=scores, max_epochs=15, lr=0.05, **SPLIT)
        clf = NaiveClassifier(net, random_state=0)
        if module is MLP:
            clf.initialize(X, np.arange(10))
        clf.partial_fit(X[Y < 5], Y[Y < 5], classes=np.arange(10))
        last = clf.net_.history[-1]
        assert last["cached"] == last["asked"] > 0.8
        held_out = ValidSplit(4)(Dataset(X[Y < 5], Y[Y < 5]))[1].indices
        assert last["asked"] == pytest.approx(clf.score(X[Y < 5][held_out], Y[Y < 5][held_out]))


def test_two_callbacks_hear_of_the_same_gradients():
    heard = []

    class Hears(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            heard.append(len([name for name, _ in named_parameters]))

    NaiveClassifier(make_net(callbacks=[Hears(), ("again", Hears())]), random_state=0).fit(X, Y)
    assert set(heard) == {4}


def test_gradient_that_a_callback_replaces_is_the_one_of_the_step():
    class Stops(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, p in named_parameters:
                p.grad = torch.zeros_like(p)

    clf = NaiveClassifier(make_net(callbacks=[Stops()]), random_state=0).initialize(X, Y)
    fresh = clf.net_.flatten().clone()
    clf.set_params(random_state=0).fit(X, Y)
    assert torch.equal(clf.net_.flatten(), fresh)


def test_method_with_its_own_steps_refuses_a_callback_that_waits_for_gradients():
    clf = LaMAMLClassifier(make_net(callbacks=[GradientNormClipping(1.0)]), random_state=0)
    with pytest.raises(ValueError, match="clip_norm"):
        clf.fit(X, Y)
    net = make_net(callbacks=[accuracy("train_acc", on_train=True)], max_epochs=8)
    assert LaMAMLClassifier(net, random_state=0).fit(X[Y < 3], Y[Y < 3]).net_.history[-1, "train_acc"] > 0.5


def test_callback_that_replaces_the_optimiser_is_refused():
    class Replaces(Callback):
        def on_epoch_begin(self, net, **kwargs):
            net.initialize_optimizer()

    with pytest.raises(RuntimeError, match="set_params"):
        NaiveClassifier(make_net(callbacks=[Replaces()]), random_state=0).fit(X, Y)


def test_callback_that_cannot_be_copied_is_named():
    with pytest.raises(TypeError, match="initialize"):
        NaiveClassifier(make_net(callbacks=[TensorBoard(threading.Lock())]), random_state=0).fit(X, Y)


class Interrupted(Callback):
    """The user presses Ctrl-C while a callback works."""

    def __init__(self, event="on_epoch_end", how="kill"):
        self.event, self.how = event, how

    def notify(self, method_name, net, **kwargs):
        if method_name == self.event and len(net.history) == 2:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGINT)
            elif self.how == "raise_signal":
                signal.raise_signal(signal.SIGINT)
            else:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                while True:  # somewhere in here
                    sum(range(100))

    def on_epoch_begin(self, net, **kwargs):
        self.notify("on_epoch_begin", net)

    def on_epoch_end(self, net, **kwargs):
        self.notify("on_epoch_end", net)

    def on_batch_end(self, net, **kwargs):
        self.notify("on_batch_end", net)


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("how", ["kill", "raise_signal", "while it works"])
@pytest.mark.parametrize("handler", ["default", "own"])
def test_interrupt_during_a_callback_undoes_the_call(event, how, handler):
    def own(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler if handler == "default" else own)
    alarm = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    clf = NaiveClassifier(make_net(callbacks=[Interrupted(event, how)], max_epochs=1), random_state=0)
    try:
        clf.partial_fit(X, Y, task_id="a")  # one epoch: nothing yet
        twin = clf.net_.flatten().clone()
        clf.set_params(net__max_epochs=5)
        with pytest.raises(KeyboardInterrupt):
            clf.partial_fit(X, Y, task_id="a")
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGALRM, alarm)
    assert torch.equal(clf.net_.flatten(), twin) and clf.n_experiences_ == 1
    assert len(clf.net_.history) == 1


@pytest.mark.parametrize(
    "event", ["on_epoch_begin", "on_batch_begin", "on_grad_computed", "on_batch_end", "on_epoch_end"]
)
def test_callback_that_raises_keyboard_interrupt_ends_training_and_keeps_what_was_learned(event):
    def stop(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt

    stops = type("Stops", (Callback,), {event: stop})()
    clf = NaiveClassifier(make_net(callbacks=[stops], max_epochs=5), random_state=0).initialize(X, Y)
    fresh = clf.net_.flatten().clone()
    clf = NaiveClassifier(make_net(callbacks=[stops], max_epochs=5), random_state=0).fit(X, Y)
    assert len(clf.net_.history) == 2
    assert not torch.equal(clf.net_.flatten(), fresh)
    # What the optimiser knows is up to date.
    n_steps = {int(state["step"]) for state in clf.net_.optimizer_.state.values()}
    assert n_steps <= {8, 9, 15, 16} and len(n_steps) == 1


def test_pickle_during_training_does_not_end_it(tmp_path):
    """Checkpoint(f_pickle=...) pickles the net at the end of an epoch; the epochs after it go on learning."""
    checkpoint = Checkpoint(None, f_pickle="net.pkl", dirname=str(tmp_path))
    plain, pickled = (
        NaiveClassifier(make_net(callbacks=[each]), random_state=0).fit(X, Y) for each in (NumberOfBatch(), checkpoint)
    )
    assert torch.equal(plain.net_.flatten(), pickled.net_.flatten())
    twin = pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert torch.equal(twin.flatten(), plain.net_.flatten())


# --- the table --------------------------------------------------------------------------------------------------------

HEAD = """# skorch's parts in the fast loop

What skorch's callbacks, splits and settings do when a strategy trains the net. Each line is a test; the file is written
by `python tests/estimators/test_skorch.py`. A net of `forgetless` that is given a `torch.utils.data.Dataset` without a
strategy takes skorch's own loop, and there all is as in skorch.

A real Ctrl-C undoes the call; a callback that raises `KeyboardInterrupt` itself, as EarlyStopping does, ends training,
and what was learned stays.
"""


def quoted(names):
    return ", ".join(f"`{name}`" for name in names)


OVERRIDING = f"""A class derived from `ContinualNet` is **refused** if it overrides a method that neither the fast loop
nor predictions call: {quoted(LEARNING)},
{quoted(ANSWERING)},
{quoted(EVENTS)}.
Give a criterion of your own, override the module's `forward`, write a callback, or override a hook of a strategy
(`loss`, `learn_batch`).
"""
OPTIMISERS = {
    "LBFGS": "What it knows of the curvature is about one set of parameters: it begins anew where the head grows.",
    "Muon": "For modules whose parameters are all matrices, as torch has it: no biases.",
    "SparseAdam": "It needs sparse gradients. Use Adam.",
}


def table() -> str:
    lines = [HEAD]
    for kind, title in (("Callback", "Callbacks"), ("Split", "`train_split`"), ("Setting", "Other settings")):
        lines += [f"## {title}\n", "| part | fares | note |", "| --- | --- | --- |"]
        for part in PARTS:
            if part.kind == kind:
                lines.append(f"| `{part.name}` | {'works' if part.works else '**refused**'} | {part.note} |")
        lines.append("")
    lines += [OVERRIDING]
    lines += [
        "## Optimisers\n",
        "State outlasts pickles, failed calls, grown heads and frozen layers; the tests are in",
    ]
    lines += ["`tests/estimators/engine/test_optimizers.py`.\n", "| part | fares | note |", "| --- | --- | --- |"]
    for name in sorted(name for name, kind in vars(torch.optim).items() if is_optimiser(kind)):
        fares = "**refused**" if name == "SparseAdam" else "works"
        lines.append(f"| `{name}` | {fares} | {OPTIMISERS.get(name, '')} |")
    return "\n".join([*lines, ""])


def is_optimiser(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer


def test_docs_have_the_table():
    assert DOCS.read_text() == table(), "run python tests/estimators/test_skorch.py"


if __name__ == "__main__":
    DOCS.write_text(table())
