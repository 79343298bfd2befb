"""ER-ACE against its formula."""

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, learned, loss_of_call
from helpers.replay import make_net, make_stream
from skorch.dataset import ValidSplit

from forgetless.estimators import ERACEClassifier
from forgetless.estimators.engine.rows import Rows


def test_er_ace_loss_equals_the_formula(draws):
    clf = learned(ERACEClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    x, y = DIGITS.X_test[:20], np.array([1, 3, 3, 5] * 5)
    loss, module = loss_of_call(clf, x, y), clf.net_.module_
    memory = draws[-1]
    new, old = (module(t).detach().double().numpy() for t in (torch.as_tensor(x), memory.x))
    own = [1, 3, 5]
    losses = [np.log(np.exp(row[own]).sum()) - row[label] for row, label in zip(new, y, strict=True)]
    replayed = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(old, memory.y, strict=True)]
    assert loss == pytest.approx(np.mean(losses) + np.mean(replayed), rel=1e-5)


def test_er_ace_new_rows_do_not_move_the_outputs_of_other_classes():
    clf = learned(ERACEClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    call = clf.open_call(DIGITS.X_test[:20], np.full(20, 5))
    clf.start_training(call)
    x, y = call.rows.x, call.rows.y
    batch = Rows(x=x, y=y, memory=Rows(x=x, y=y, groups=torch.zeros_like(y)))
    outputs = torch.randn(20, 6, requires_grad=True)
    clf.loss(call, lambda _: torch.cat([outputs, outputs.detach()]), batch).backward()
    assert not outputs.grad[:, :5].any()


def test_er_ace_has_rows_of_the_running_call_in_memory(draws):
    clf = ERACEClassifier(make_net(), buffer_size=1000, replay_batch_size=2000, random_state=0)
    clf.fit(DIGITS.X_train[:100], DIGITS.y_train[:100])
    assert len(draws[0].x.unique(dim=0)) == 100  # at the first step


def test_what_is_held_out_is_not_in_the_memory():
    net = make_net(train_split=ValidSplit(0.25, random_state=0))
    clf = ERACEClassifier(net, random_state=0).partial_fit(DIGITS.X_train[:80], DIGITS.y_train[:80])
    assert len(clf.memory_) == 60
