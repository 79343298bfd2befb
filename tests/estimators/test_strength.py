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
# Those whose penalty is quadratic, and may be a step of its own.
IMPLICIT = {
    name: (copy.deepcopy(clf).set_params(penalty_step="implicit"), parameter)
    for name, (clf, parameter) in STRENGTHS.items()
    if name != "l1"
}
AT_ZERO |= {
    f"implicit {name}": copy.deepcopy(clf).set_params(**{parameter: 0}) for name, (clf, parameter) in IMPLICIT.items()
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


def moved_in_a_second_call(clf, n_rows=None, **params):
    """How far a second call moves what is held, as the penalty measures it: the root of Σ Ω (θ−θ*)²."""
    clf = copy.deepcopy(clf).set_params(**params).partial_fit(X[500:][:n_rows], Y[500:][:n_rows])
    distance = theta(clf) - clf.anchor_
    return float((clf.importance_ * distance.square()).sum().sqrt())


@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_steps_hold_at_any_strength(name):
    """With the default network; weights of no importance are free, and move further as the others are held."""
    clf, parameter = IMPLICIT[name]
    begun = copy.deepcopy(clf).set_params(random_state=0).partial_fit(X[:500], Y[:500])
    distances = [moved_in_a_second_call(begun, 200, **{parameter: 10.0**power}) for power in range(-2, 13, 2)]
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < 1e-5 * distances[0]


def sgd(**params):
    return make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=2, **params)


@pytest.mark.parametrize("name", [name for name in IMPLICIT if name != "elastic net"])
def test_where_gradients_of_a_stiff_penalty_diverge_implicit_steps_hold(name):
    clf, parameter = IMPLICIT[name]
    begun = copy.deepcopy(clf).set_params(net=sgd(), random_state=0).partial_fit(X[:500], Y[:500])
    begun.set_params(**{parameter: 1e6})
    assert moved_in_a_second_call(begun) < 1e-3
    with pytest.raises(FloatingPointError, match="strength of the penalty"):
        moved_in_a_second_call(begun, penalty_step="gradient")


@pytest.mark.parametrize("net", [make_net(), sgd(optimizer__momentum=0.9)], ids=["adam", "momentum"])
@pytest.mark.parametrize("name", [name for name in IMPLICIT if name not in ("mas", "si")])
def test_implicit_steps_of_a_soft_penalty_hold_as_its_gradient_does(name, net):
    """One strength holds as much in both forms, also where the optimiser's steps are not as long as its rate."""
    clf, parameter = IMPLICIT[name]
    begun = copy.deepcopy(clf).set_params(net=net, random_state=0).partial_fit(X[:500], Y[:500])
    strength = 3.0 if name.endswith("ewc") else 0.1
    free = moved_in_a_second_call(begun, **{parameter: 0.0})
    implicit, gradient = (
        moved_in_a_second_call(begun, **{parameter: strength, "penalty_step": step})
        for step in ("implicit", "gradient")
    )
    assert implicit == pytest.approx(gradient, rel=0.15) and implicit < 0.98 * free, (free, implicit, gradient)


@pytest.mark.parametrize("name", WITH_IMPORTANCE)
def test_weights_of_new_classes_are_free(name):
    clf, parameter = STRENGTHS[name]
    clf = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: 1e6})
    clf.partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
    importance = dict(zip(["w1", "b1", "w2", "b2"], clf.net_.unflatten(clf.importance_), strict=True))
    assert not importance["w2"][5:].any() and not importance["b2"][5:].any()
    assert importance["w2"][:5].any() and importance["b2"][:5].any()
