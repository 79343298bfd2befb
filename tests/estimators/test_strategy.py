"""What the contract promises to those who write a method: few frames, few hooks, a table that says all of them."""

import inspect
import re

import numpy as np

from forgetless.estimators import NaiveClassifier, NetworkClassifier, NetworkStrategy

HOOKS = [
    "consolidate",
    "before_training",
    "before_step",
    "loss",
    "after_backward",
    "after_step",
    "after_training",
    "learn_batch",
]
X, Y = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32), np.arange(70) % 2


def test_eight_hooks_stand_in_the_table():
    table = re.findall(r"^ *:meth:`(\w+)`", inspect.getdoc(NetworkStrategy), flags=re.MULTILINE)
    assert table == HOOKS
    for name in HOOKS:
        assert inspect.signature(getattr(NetworkStrategy, name)).return_annotation is not inspect.Signature.empty


def test_from_partial_fit_to_the_loss_there_are_few_frames():
    depths = []

    class Looking(NetworkClassifier):
        family, source = "baselines", "made up"

        def loss(self, call, forward, batch):
            names = [frame.function for frame in inspect.stack(0)]
            depths.append(names.index("partial_fit") + 1)
            return super().loss(call, forward, batch)

    Looking().partial_fit(X, Y)
    assert max(depths) <= 8


def test_hooks_are_called_in_the_order_of_the_table():
    calls = []

    class Noting(NetworkClassifier):
        family, source = "baselines", "made up"

        def learn_batch(self, call, theta, batch, descend):
            calls.append(("learn_batch", call.epoch, call.batch_index, call.step))
            return super().learn_batch(call, theta, batch, descend)

        def loss(self, call, forward, batch):
            calls.append("loss")
            return super().loss(call, forward, batch)

    def noting(name):
        return lambda self, *args: calls.append(name)

    for name in set(HOOKS) - {"learn_batch", "loss"}:
        setattr(Noting, name, noting(name))
    clf = Noting()
    clf.net = clf.prototype().set_params(max_epochs=2, batch_size=64)
    clf.partial_fit(X, Y)
    step = ["before_step", "loss", "after_backward", "after_step"]
    batches = [x for e, b, s in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)) for x in (("learn_batch", e, b, s), *step)]
    assert calls == ["before_training", *batches, "after_training"]
    calls.clear()
    clf.partial_fit(X, Y)
    assert calls[:2] == ["consolidate", "before_training"]


def test_a_hook_sees_the_outputs_before_the_step():
    seen = []

    class Looking(NetworkClassifier):
        family, source = "baselines", "made up"

        def before_step(self, call, batch):
            seen.append(self.net_.module_(batch.x))

        def after_step(self, call, theta, batch):
            np.testing.assert_allclose(batch.outputs, seen[-1].detach(), rtol=1e-5, atol=1e-6)
            assert not np.allclose(batch.outputs, self.net_.module_(batch.x).detach(), rtol=1e-5, atol=1e-6)

    Looking().partial_fit(X, Y)
    assert seen


def test_generators_of_a_call_do_not_disturb_each_other():
    call = NaiveClassifier(random_state=0).start_call(None)
    other = NaiveClassifier(random_state=0).start_call(None)
    call.rng("a").random(100)
    assert call.rng("b").random() == other.rng("b").random()
    assert call.rng("a").random() != other.rng("a").random()
    assert call.rng("a") is call.rng("a")
