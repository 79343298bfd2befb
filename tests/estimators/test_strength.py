"""Methods whose strength is 0 learn as naive training does, to the bit; with more of it they hold on more."""

import copy
from functools import cache

import pytest
import torch
from helpers.estimators import NEW, OLD, X, Y, distance_from_anchor, learned, make_net, make_stream, theta

from forgetless.estimators import (
    AGEMClassifier,
    AnchoredClassifier,
    ContinualBackpropClassifier,
    DERClassifier,
    ERACEClassifier,
    EWCClassifier,
    FeatureDistillationClassifier,
    GEMClassifier,
    GenerativeReplayClassifier,
    LwFClassifier,
    MASClassifier,
    NaiveClassifier,
    RelationDistillationClassifier,
    ReplayClassifier,
    RWalkClassifier,
    ShrinkPerturbClassifier,
    SIClassifier,
)
from forgetless.estimators.engine.memory import POLICIES

AT_ZERO = {
    "l2": AnchoredClassifier(penalty="l2", strength=0),
    "l1": AnchoredClassifier(penalty="l1", strength=0),
    "elastic net": AnchoredClassifier(penalty="elasticnet", strength=0),
    "zero": AnchoredClassifier(anchor="zero", strength=0),
    "initial": AnchoredClassifier(anchor="initial", strength=0),
    "shrink and perturb": ShrinkPerturbClassifier(shrink=0, noise_std=0),
    "continual backprop": ContinualBackpropClassifier(replacement_rate=0),
    "ewc": EWCClassifier(ewc_lambda=0),
    "online ewc": EWCClassifier(ewc_lambda=0, online=True),
    "sampled ewc": EWCClassifier(ewc_lambda=0, fisher="sampled"),
    "si": SIClassifier(si_lambda=0),
    "mas": MASClassifier(mas_lambda=0),
    "rwalk": RWalkClassifier(rwalk_lambda=0),
    "lwf": LwFClassifier(alpha=1),
    "features": FeatureDistillationClassifier(strength=0),
    "relations": RelationDistillationClassifier(distance_weight=0, angle_weight=0),
    **{f"replay {policy}": ReplayClassifier(buffer_size=0, policy=policy) for policy in POLICIES},
    "mir": ReplayClassifier(buffer_size=0, retrieval="mir"),
    "er-ace": ERACEClassifier(buffer_size=0),
    "der without strengths": DERClassifier(alpha=0, beta=0),
    "der without memory": DERClassifier(buffer_size=0),
    "gem": GEMClassifier(buffer_size=0),
    "a-gem": AGEMClassifier(buffer_size=0),
    "generative replay": GenerativeReplayClassifier(
        replay_weight=0.0, generator_epochs=1, hidden_units=(50,), latent_size=5
    ),
}
STRENGTHS = {
    "l2": (AnchoredClassifier(penalty="l2"), "strength"),
    "l1": (AnchoredClassifier(penalty="l1"), "strength"),
    "elastic net": (AnchoredClassifier(penalty="elasticnet"), "strength"),
    "ewc": (EWCClassifier(), "ewc_lambda"),
    "online ewc": (EWCClassifier(online=True), "ewc_lambda"),
    "si": (SIClassifier(), "si_lambda"),
    "mas": (MASClassifier(), "mas_lambda"),
    "rwalk": (RWalkClassifier(), "rwalk_lambda"),
}
WITH_IMPORTANCE = [name for name in STRENGTHS if name != "elastic net"]


NET = make_net(batch_size=128)


def trained(clf, scenario):
    return theta(learned(clf.set_params(net=NET, random_state=0), list(make_stream(scenario))[:3]))


@cache
def naive(scenario):
    return trained(NaiveClassifier(), scenario)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", AT_ZERO)
def test_strength_zero_is_naive_to_the_bit(name, scenario):
    assert torch.equal(trained(copy.deepcopy(AT_ZERO[name]), scenario), naive(scenario))


@pytest.mark.parametrize(
    "clf",
    [
        ReplayClassifier(),
        ReplayClassifier(retrieval="mir"),
        ERACEClassifier(),
        DERClassifier(beta=0),
        GEMClassifier(),
        AGEMClassifier(),
    ],
    ids=["replay", "mir", "er-ace", "der", "gem", "a-gem"],
)
def test_strength_is_not_naive(clf):
    """What the test before would not notice: methods that never do anything."""
    assert not torch.equal(trained(copy.deepcopy(clf), "task"), naive("task"))


@pytest.mark.parametrize("name", STRENGTHS)
def test_distance_from_the_anchor_falls_with_strength(name):
    clf, parameter = STRENGTHS[name]
    distances = []
    for strength in [0.0, 0.1, 10.0, 1000.0]:
        trial = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: strength})
        distances.append(float(distance_from_anchor(trial).norm()))
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < distances[0] / 2


@pytest.mark.parametrize("name", WITH_IMPORTANCE)
def test_weights_of_new_classes_are_free(name):
    clf, parameter = STRENGTHS[name]
    clf = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: 1e6})
    clf.partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
    importance = dict(zip(["w1", "b1", "w2", "b2"], clf.net_.unflatten(clf.importance_), strict=True))
    assert not importance["w2"][5:].any() and not importance["b2"][5:].any()
    assert importance["w2"][:5].any() and importance["b2"][:5].any()
