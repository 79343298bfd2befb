"""Modules of any kind, pretrained or not, frozen or not; features that stand still; data that stay."""

import copy
import inspect
import itertools
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, NEW, OLD, X, Y, learned, loss_of_call, make_stream
from sklearn.base import clone
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    ContinualNet,
    ConvNet,
    CumulativeClassifier,
    EWCClassifier,
    FrozenClassifier,
    JointClassifier,
    MASClassifier,
    NaiveClassifier,
    RWalkClassifier,
    all_estimators,
    partial_fit_together,
)
from forgetless.estimators.engine.modules import head_of


class Users(nn.Module):
    """A user's own: no parameters in its signature, no `head`, batch norm, dropout, 7 outputs, something after them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.1))
        self.classifier = nn.Linear(24, 7)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.classifier(self.body(x)) * self.scale


def modules():
    """Instances with weights of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return {
            "mlp": MLP(64, 10, hidden_units=(24,), batch_norm=True, dropout=0.1),
            "convnet": ConvNet(4, image_shape=(1, 8, 8), channels=(4,), batch_norm=True),
            "user": Users(),
        }


kinds = pytest.mark.parametrize("kind", ["mlp", "convnet", "user"])
STRATEGIES = {
    name: cls
    for name, cls in all_estimators()
    if name.endswith("Classifier")
    and "net" in inspect.signature(cls).parameters
    # Its network has other layers, and its own tests say which weights stay.
    and name != "AdapterClassifier"
}
strategies = pytest.mark.parametrize("name", STRATEGIES)
initialized = pytest.mark.parametrize("name", [name for name, cls in STRATEGIES.items() if hasattr(cls, "initialize")])


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(a, b, keys=None):
    return all(torch.equal(a[key], b[key]) for key in (a if keys is None else keys))


def features_of(module):
    """Names of what comes before the head."""
    return [key for key in module.state_dict() if not key.startswith(("head", "classifier", "scale"))]


def freeze(module):
    for name, p in module.named_parameters():
        if name in features_of(module):
            p.requires_grad_(False)
    return module


# --- a module brought along --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["convnet", "user"])
@strategies
def test_every_strategy_learns_with_a_copy_of_the_instance(name, kind):
    module = modules()[kind]
    before = state(module)
    clf = STRATEGIES[name](ContinualNet(module, lr=0.01, max_epochs=4), random_state=0)
    if name == "GDumbClassifier":  # which has epochs of its own
        clf.set_params(max_epochs=8)
    for e in make_stream("task", 2, class_order="sorted"):
        clf.partial_fit(e.X_train[:100], e.y_train[:100], task_id=e.task_id)
        assert clf.score(e.X_train[:100], e.y_train[:100], task_id=e.task_id) > 0.4  # of five classes
    assert same(before, state(module)) and module.training
    twin = pickle.loads(pickle.dumps(clf))
    assert np.array_equal(clf.predict_proba(DIGITS.X_test), twin.predict_proba(DIGITS.X_test))


def copy_in(clf, module):
    """The copy of the instance that the estimator trains, maybe within a module of the strategy's own."""
    return next(part for part in clf.net_.module_.modules() if type(part) is type(module))


@kinds
@initialized
def test_learning_starts_from_the_weights_of_the_instance(name, kind):
    module = modules()[kind]
    clf = STRATEGIES[name](ContinualNet(module), random_state=0).initialize(X, np.arange(10))
    found = copy_in(clf, module).state_dict()
    assert same(state(module), found, features_of(module))
    old, new = head_of(module).weight, head_of(copy_in(clf, module)).weight
    assert len(new) == 10 and torch.equal(new[: len(old)], old)


def test_every_way_to_bring_a_module():
    from skorch import NeuralNetClassifier

    module = modules()["user"]
    plain = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=0, train_split=None)
    for clf in (
        NaiveClassifier(plain),
        clone(NaiveClassifier(ContinualNet(module, max_epochs=0))),
        copy.deepcopy(NaiveClassifier(ContinualNet(module, max_epochs=0))),
        pickle.loads(pickle.dumps(NaiveClassifier(ContinualNet(module, max_epochs=0)))),
        JointClassifier(ContinualNet(module, max_epochs=0)).fit(X[:50], Y[:50]),
    ):
        clf.fit(X, Y)
        assert same(state(module), clf.net_.module_.state_dict(), features_of(module))
        assert clf.net_.module_ is not module


def test_joint_starts_each_call_from_the_instance():
    module = modules()["mlp"]
    clf = JointClassifier(ContinualNet(module, max_epochs=3), random_state=0).fit(X, Y)
    assert not same(state(module), clf.net_.module_.state_dict(), features_of(module))
    clf.set_params(net__max_epochs=0).partial_fit(X, Y)
    assert same(state(module), clf.net_.module_.state_dict(), features_of(module))


def test_parameters_for_an_instance_are_an_error():
    clf = NaiveClassifier(ContinualNet(modules()["mlp"], module__dropout=0.5))
    with pytest.raises(ValueError, match="module__dropout would make another one"):
        clf.fit(X, Y)


def test_module_without_a_linear_layer_is_an_error():
    with pytest.raises(TypeError, match=r"no torch\.nn\.Linear layer"):
        NaiveClassifier(ContinualNet(nn.LayerNorm(64), max_epochs=1)).fit(X, Y)


def test_module_of_another_net_is_not_pickled_many_times():
    """After training, parameters are views of one vector."""
    trained = NaiveClassifier(ContinualNet(MLP, module__hidden_units=(200, 200, 200), max_epochs=1)).fit(X, Y)
    module = trained.net_.module_
    clf = NaiveClassifier(ContinualNet(module))
    n_bytes = sum(p.numel() * 4 for p in module.parameters())
    assert len(pickle.dumps(clf)) < 1.2 * n_bytes + 50_000


def test_pretraining_helps():
    """What was learned from digits 5 to 9 makes 0 to 4 easier: the reason for all this."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        source = ContinualNet(MLP, module__n_inputs=64, module__n_outputs=10, lr=0.01, max_epochs=20)
        source.fit(X[NEW], Y[NEW])
    scores = {}
    for label, module in [("pretrained", source.module_), ("drawn", MLP(64, 10))]:
        clf = FrozenClassifier(ContinualNet(module, lr=0.01, max_epochs=30), pretrained=True, random_state=0)
        test = DIGITS.y_test < 5
        scores[label] = clf.fit(X[OLD][:25], Y[OLD][:25]).score(DIGITS.X_test[test], DIGITS.y_test[test])
    assert scores["pretrained"] > scores["drawn"]


# --- frozen parts ------------------------------------------------------------------------------------------------


@kinds
@initialized
def test_frozen_parameters_and_statistics_stay_with_every_strategy(name, kind):
    module = freeze(modules()[kind])
    clf = STRATEGIES[name](ContinualNet(module, lr=0.01, max_epochs=2), random_state=0).initialize(X, np.arange(10))
    if type(clf.net_.module_) is not type(module):
        pytest.skip("the strategy says within a module of its own what is trained")
    head = head_of(clf.net_.module_).weight.detach().clone()
    clf.partial_fit(X[OLD][:70], Y[OLD][:70]).partial_fit(X[NEW][:70], Y[NEW][:70])
    assert same(state(module), clf.net_.module_.state_dict(), features_of(module))
    assert not torch.equal(head_of(clf.net_.module_).weight, head)


@kinds
def test_head_of_a_module_that_is_frozen_altogether_is_trained(kind):
    module = modules()[kind].requires_grad_(False)
    clf = NaiveClassifier(ContinualNet(module, lr=0.01), random_state=0).fit(X, Y)
    head = head_of(clf.net_.module_)
    assert [id(p) for p in clf.net_.trainable()] == [id(head.weight), id(head.bias)]
    assert same(state(module), clf.net_.module_.state_dict(), features_of(module))
    assert clf.score(X, Y) > 0.5 and not head_of(module).weight.requires_grad


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_fisher_of_a_partly_frozen_network_is_that_of_its_trained_parameters(kind):
    clf = EWCClassifier(ContinualNet(freeze(modules()[kind]), max_epochs=2), fisher="empirical", random_state=0)
    x, y = torch.as_tensor(X[:30]), torch.arange(30) % 10
    clf.partial_fit(X[:30], y)
    module = clf.net_.module_.eval()
    total = 0.0
    for row, label in zip(x, y, strict=True):
        loss = F.cross_entropy(module(row[None]), label[None])
        gradients = torch.autograd.grad(loss, [module.head.weight, module.head.bias])
        total = total + torch.cat([g.reshape(-1) for g in gradients]) ** 2
    torch.testing.assert_close(clf.fisher_, total / 30, rtol=1e-4, atol=1e-8)


def test_optimiser_knows_only_what_is_trained():
    module = freeze(modules()["mlp"])
    frozen = NaiveClassifier(ContinualNet(module, max_epochs=1), random_state=0).fit(X, Y)
    head = module.head.weight.numel() + module.head.bias.numel()
    assert frozen.memory_usage()["optimizer"] < 2 * 4 * head + 100
    assert frozen.net_.trainable() == [frozen.net_.module_.head.weight, frozen.net_.module_.head.bias]


class RandomFeatures(MLP):
    """Features that are drawn, differently for each seed, and stay."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__(n_inputs, n_outputs)
        self.hidden.requires_grad_(False)


def test_seeds_trained_together_keep_their_own_frozen_weights():
    together, alone = ([NaiveClassifier(ContinualNet(RandomFeatures), random_state=s) for s in (0, 1)] for _ in "ab")
    partial_fit_together(together, [{"X": X, "y": Y}] * 2)
    for a, b in zip(together, alone, strict=True):
        b.partial_fit(X, Y)
        np.testing.assert_allclose(a.predict_proba(DIGITS.X_test), b.predict_proba(DIGITS.X_test), atol=1e-4)


# --- FrozenClassifier --------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("reset_optimizer", [False, True])
def test_frozen_features_are_equal_to_the_bit_after_later_experiences(kind, pretrained, reset_optimizer):
    module = modules()[kind]
    net = ContinualNet(module, lr=0.01, max_epochs=3, reset_optimizer=reset_optimizer)
    clf = FrozenClassifier(net, pretrained=pretrained, random_state=0)
    names = features_of(module)
    kept = state(module)
    for k in range(3):
        clf.partial_fit(X[300 * k : 300 * k + 150], Y[300 * k : 300 * k + 150], task_id=k)
        head = state(clf.net_.module_)
        clf.partial_fit(X[300 * k + 150 : 300 * k + 300], Y[300 * k + 150 : 300 * k + 300], task_id=k)
        after = state(clf.net_.module_)
        if k == 0 and not pretrained:  # the features learn, in all calls of the first experience
            assert not same(head, after, names)
            kept = after
        assert same(kept, after, names)
        key = "classifier.weight" if kind == "user" else "head.weight"
        assert not torch.equal(head[key], after[key])
    assert not any(p.requires_grad for n, p in clf.net_.module_.named_parameters() if not n.startswith(("h", "cl")))


OPTIMIZERS = [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop]


@pytest.mark.parametrize(
    ("optimizer", "weight_decay"),
    [*itertools.product(OPTIMIZERS, [0.0, 0.1]), (torch.optim.LBFGS, 0.0)],  # which has no weight decay
)
def test_no_optimiser_moves_frozen_features(optimizer, weight_decay):
    options = {"optimizer": optimizer, "lr": 0.01, "max_epochs": 2, "batch_size": 64}
    if optimizer is torch.optim.SGD:
        options["optimizer__momentum"] = 0.9
    if optimizer is torch.optim.LBFGS:
        options["optimizer__max_iter"] = 2
    else:
        options["optimizer__weight_decay"] = weight_decay
    clf = FrozenClassifier(ContinualNet(MLP, **options), random_state=0).partial_fit(X[OLD], Y[OLD])
    before = state(clf.net_.module_)
    clf.partial_fit(X[NEW], Y[NEW])
    assert same(before, clf.net_.module_.state_dict(), features_of(clf.net_.module_))
    assert optimizer is torch.optim.LBFGS or clf.score(X[NEW], Y[NEW]) > 0.3


def test_frozen_statistics_without_parameters_stand_still_too():
    class Bare(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20, affine=False), nn.ReLU())
            self.head = nn.Linear(20, n_outputs)

        def forward(self, x):
            return self.head(self.hidden(x))

    clf = FrozenClassifier(ContinualNet(Bare, max_epochs=2), random_state=0).partial_fit(X[OLD], Y[OLD])
    before = state(clf.net_.module_)
    clf.partial_fit(X[NEW], Y[NEW])
    assert same(before, clf.net_.module_.state_dict(), features_of(clf.net_.module_))


def test_frozen_head_is_trained_on_fixed_features():
    """Steps of gradient descent on the head alone, as logistic regression on the features."""
    net = ContinualNet(MLP, optimizer=torch.optim.SGD, lr=0.5, max_epochs=4, batch_size=-1)
    clf = FrozenClassifier(net, random_state=0).partial_fit(X[:500], Y[:500])
    module = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(X[500:], Y[500:])
    h = module.hidden(torch.as_tensor(X[500:])).detach().double()
    w, b = module.head.weight.detach().double(), module.head.bias.detach().double()
    wanted = F.one_hot(torch.as_tensor(Y[500:]), 10)
    for _ in range(4):
        error = ((h @ w.T + b).softmax(1) - wanted) / len(h)
        w, b = w - 0.5 * error.T @ h, b - 0.5 * error.sum(0)
    torch.testing.assert_close(clf.net_.module_.head.weight.double(), w, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(clf.net_.module_.head.bias.double(), b, rtol=1e-4, atol=1e-6)


def test_call_that_fails_does_not_leave_the_features_frozen():
    clf = FrozenClassifier(ContinualNet(MLP, max_epochs=2), random_state=0).partial_fit(X[:100], Y[:100], task_id=0)
    twin = copy.deepcopy(clf)
    with pytest.raises(FloatingPointError):
        clf.partial_fit(X * 1e38, Y, task_id=1)
    assert all(p.requires_grad for p in clf.net_.module_.parameters())
    for each in (clf, twin):  # the first experience goes on, and its features learn
        each.partial_fit(X[100:200], Y[100:200], task_id=0)
    assert same(state(clf.net_.module_), state(twin.net_.module_))


def test_frozen_pickles_small():
    net = ContinualNet(MLP, module__hidden_units=(200, 200, 200), max_epochs=1)
    clf = FrozenClassifier(net, random_state=0).partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
    assert len(pickle.dumps(clf)) < 1.2 * sum(clf.memory_usage().values()) + 50_000


@pytest.mark.parametrize("cls", [MASClassifier, RWalkClassifier])
def test_frozen_layers_do_not_trouble_importances(cls):
    clf = cls(ContinualNet(freeze(modules()["mlp"]), max_epochs=2), random_state=0)
    clf.partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
    assert len(clf.importance_) == sum(p.numel() for p in clf.net_.trainable()) == 24 * 10 + 10
    assert (clf.importance_ > 0).any()


# --- CumulativeClassifier ----------------------------------------------------------------------------------------


def test_cumulative_is_naive_training_on_all_rows_so_far():
    cumulative, naive = (
        cls(ContinualNet(MLP, max_epochs=2), random_state=0) for cls in (CumulativeClassifier, NaiveClassifier)
    )
    for k in range(3):
        cumulative.partial_fit(X[300 * k : 300 * k + 300], Y[300 * k : 300 * k + 300])
        naive.partial_fit(X[: 300 * k + 300], Y[: 300 * k + 300])
        assert same(state(cumulative.net_.module_), state(naive.net_.module_))


def test_cumulative_keeps_the_outputs_of_each_rows_own_task_active():
    clf = CumulativeClassifier(ContinualNet(MLP, max_epochs=1), random_state=0)
    *experiences, last = make_stream("task")
    learned(clf, experiences)
    loss = loss_of_call(clf, last.X_train, last.y_train, task_id=last.task_id)
    rows = clf.rows_
    assert len(rows) == len(X) and all(int(c) in clf.tasks_[int(g)] for c, g in zip(rows.y, rows.groups, strict=True))
    outputs = clf.net_.module_(rows.x)
    expected = torch.stack(
        [
            F.cross_entropy(
                out[clf.tasks_[int(g)]][None], torch.as_tensor(np.flatnonzero(clf.tasks_[int(g)] == int(c)))
            )
            for out, c, g in zip(outputs, rows.y, rows.groups, strict=True)
        ]
    ).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4)


def test_cumulative_and_joint_remember():
    stream = make_stream()
    for cls in (CumulativeClassifier, JointClassifier):
        clf = learned(cls(ContinualNet(MLP, lr=0.01, max_epochs=5), random_state=0), stream)
        assert clf.score(DIGITS.X_test, DIGITS.y_test) > 0.93


# --- a module that works in place ---------------------------------------------------------------------------------


class Scaled(nn.Module):
    """Halves its inputs first; in training shifts them, too, as noise would."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 12), nn.Tanh(), nn.LayerNorm(12))
        self.head = nn.Linear(12, 10)

    def scaled(self, x):
        return (x * 0.5 + 0.1) if self.training else x * 0.5

    def forward(self, x):
        return self.head(self.body(self.scaled(x)))


class ScaledInPlace(Scaled):
    def scaled(self, x):
        x *= 0.5
        if self.training:
            x += 0.1
        return x


@strategies
def test_a_module_that_works_in_place_changes_neither_rows_nor_answers(name):
    def answers(kind):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            clf = STRATEGIES[name](ContinualNet(kind(), lr=0.01, max_epochs=2), random_state=0)
        if name == "GDumbClassifier":
            clf.set_params(max_epochs=2)
        for e in make_stream("task", 3):
            x, before = e.X_train[:64].copy(), e.X_train[:64]
            clf.partial_fit(x, e.y_train[:64], task_id=e.task_id)
            assert np.array_equal(x, before)
        x = DIGITS.X_test.copy()
        found = clf.predict_proba(x)
        assert np.array_equal(x, DIGITS.X_test)
        return found

    assert np.array_equal(answers(ScaledInPlace), answers(Scaled))
