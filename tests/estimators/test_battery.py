"""The battery finds what it is there to find."""

import numpy as np
import pytest
import torch
from helpers.battery import checks_of

from forgetless.estimators import MajorityClassifier, NetworkClassifier, ReplayClassifier


class Own(NetworkClassifier):
    """A class of the user's own, which says that its steps are pure."""

    family, source, pure_steps = "regularization", "made up", True
    carries = {"anchor_": "anchors"}


class Counting(Own):
    """Its loss depends on how often it was asked."""

    def before_training(self, call):
        call.state.n_losses = 0

    def loss(self, call, forward, batch):
        call.state.n_losses += 1
        return super().loss(call, forward, batch) * (1 + call.state.n_losses % 3)


class Summing(Own):
    """What it does to the gradient is not elementwise: seeds see each other."""

    def after_backward(self, call, theta, gradient):
        gradient.add_(theta * gradient.norm())


class Mixing(Own):
    """Its loss has no place for stacked networks: a mean over them, too."""

    def loss(self, call, forward, batch):
        return super().loss(call, forward, batch) + forward(batch.x).square().mean().sqrt()


class KeepingItsCall(Own):
    """A call stays behind."""

    pure_steps = False

    def before_training(self, call):
        self.call_ = call


class EagerPenalty(Own):
    """Its strength acts in the first experience, although it says that it does not."""

    later_parameters = ("strength",)

    def __init__(self, net=None, *, strength=0.1, active_outputs="auto", random_state=None):
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.strength = strength

    def after_backward(self, call, theta, gradient):
        gradient.add_(theta, alpha=self.strength)


class NoSuchParameter(Own):
    """It speaks of a parameter that it has not."""

    later_parameters = ("strength",)


class ReplacedAnchor(Own):
    """A moving average of the weights in an attribute that is replaced."""

    def before_training(self, call):
        if not hasattr(self, "anchor_"):
            self.anchor_ = self.net_.flatten().clone()

    def after_backward(self, call, theta, gradient):
        gradient.add_(theta - self.anchor_, alpha=0.1)

    def after_step(self, call, theta, batch):
        self.anchor_ = torch.lerp(self.anchor_, theta, 0.1)


class AnchorInPlace(ReplacedAnchor):
    """The same, changed in place."""

    def after_step(self, call, theta, batch):
        torch.lerp(self.anchor_, theta, 0.1, out=self.anchor_)


class KeepingACopy(ReplayClassifier):
    """Rows that were forgotten are still somewhere."""

    def after_training(self, call):
        super().after_training(call)
        self.rows_ = call.rows.x.clone()


class SayingNo(MajorityClassifier):
    """It can unlearn, and says that it cannot."""

    unlearns = "no"


class SayingYes(Own):
    """It says that it can unlearn, and cannot."""

    unlearns = "exact"


class KeepingCounts(MajorityClassifier):
    """It says that rows are gone, and goes on counting them."""

    def take_away(self, X, y):
        return self.output_counts_[None] - np.bincount(y, minlength=len(self.classes_))


def failures(cls, *names):
    failed = set()
    for name, passes in checks_of(cls, names or None):
        try:
            passes()
        except (AssertionError, TypeError, RuntimeError, ValueError):
            failed.add(name.partition("-")[0])
    return failed


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (Counting, "recorded_steps_equal_others"),
        (Summing, "stacked_steps_equal_others"),
        (Mixing, "stacked_steps_equal_others"),
        (KeepingItsCall, "nothing_of_a_call_stays_behind"),
        (EagerPenalty, "later_parameters_change_nothing_in_fit"),
        (NoSuchParameter, "later_parameters_change_nothing_in_fit"),
        (KeepingACopy, "forgotten_samples_are_gone"),
        (SayingNo, "has_no_method_that_it_cannot_keep"),
        (SayingYes, "has_no_method_that_it_cannot_keep"),
        (KeepingCounts, "unlearned_rows_were_never_seen"),
    ],
)
def test_a_wrong_class_fails(cls, check):
    assert check in failures(cls, check)


@pytest.mark.parametrize("cls", [ReplacedAnchor, AnchorInPlace])
def test_vectors_may_be_replaced_or_changed_in_place(cls):
    names = [
        "stacked_steps_equal_others",
        "recorded_steps_equal_others",
        "interrupt_in_the_third_call_changes_nothing",
        "divergence_in_the_third_call_is_an_error_and_changes_nothing",
        "memory_usage_counts_bytes",
    ]
    assert not failures(cls, *names)
