"""A method as a stranger would write it: on remembered rows, outputs stay near what they were."""

import numpy as np
import torch
from helpers.battery import battery

from forgetless.estimators import NetworkClassifier, ReplayMemory, at_least, forward_together, with_groups


class FunctionDistanceClassifier(NetworkClassifier):
    r"""Function-distance regularisation: :math:`L + \lambda\,\|f(x_M) - z_M\|_2^2`, a mean over remembered rows.

    z are the logits that the network gave a row at the end of the call that brought it.

    Parameters
    ----------
    net : skorch net, default=None
    strength : float, default=0.5
        λ.
    buffer_size : int, default=100
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
    random_state : int, RandomState instance or None, default=None
    """

    family = "replay"
    source = "Benjamin, Rolnick & Kording 2019"
    keeps = "samples"
    pure_steps = True
    carries = {"memory_": "replay"}
    parameter_constraints = {"strength": [at_least(0)], "buffer_size": [at_least(0)]}

    def __init__(self, net=None, *, strength=0.5, buffer_size=100, active_outputs="auto", random_state=None):
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.strength = strength
        self.buffer_size = buffer_size

    def before_training(self, call):
        """Stored logits get a column for each new class."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)
        self.memory_.widen("answers", self.n_network_outputs())

    def before_step(self, call, batch):
        """As many remembered rows as new ones."""
        if len(self.memory_):
            batch.memory = self.memory_.draw(len(batch), call.generator)

    def loss(self, call, forward, batch):
        """L + λ ‖f − z‖², over the outputs that there were."""
        if batch.memory is None:
            return super().loss(call, forward, batch)
        new, old = forward_together(forward, batch.x, batch.memory.x)
        logits, answers = call.objective.logits(old), batch.memory.answers
        distance = (logits - torch.where(answers.isnan(), logits.detach(), answers)).square().sum(-1)
        return call.objective.loss(new, batch.y) + self.strength * distance.mean(-1)

    def after_training(self, call):
        """Offer the rows with the logits that they have now."""
        rows = with_groups(call.objective, call.rows)
        rows.answers = call.objective.logits(self.network_outputs(rows.x))
        self.memory_.add(call.rng("memory"), rows)


test_battery = battery(FunctionDistanceClassifier)


def test_strength_keeps_answers():
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    accuracy = {}
    for strength in (0.0, 5.0):
        clf = FunctionDistanceClassifier(strength=strength, random_state=0).partial_fit(x, x[:, 0] > 0)
        accuracy[strength] = clf.partial_fit(x, x[:, 1] > 0).score(x, x[:, 0] > 0)
    assert accuracy[5.0] > accuracy[0.0] + 0.1
