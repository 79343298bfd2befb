"""A method as a stranger would write it: the memory holds rows whose gradients differ."""

import torch
from helpers.battery import battery

from forgetless.estimators import NetworkClassifier, Rows, at_least, forward_together, with_groups


class GradientSelectionClassifier(NetworkClassifier):
    r"""Greedy gradient-based sample selection: :math:`L(\text{batch}) + L(\text{memory batch})`.

    A row's score is the largest cosine of its gradient with those of some rows in memory, plus one. A full memory takes
    a row of score c < 1 in place of one drawn by score, i, with probability :math:`s_i / (s_i + c)`.

    Parameters
    ----------
    net : skorch net, default=None
    buffer_size : int, default=10
    n_compared : int, default=5
        Rows in memory with which a new row is compared.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
    random_state : int, RandomState instance or None, default=None
    """

    family = "replay"
    source = "Aljundi et al. 2019 (GSS-greedy)"
    keeps = "samples"
    carries = {"memory_": "replay", "scores_": "replay"}
    parameter_constraints = {"buffer_size": [at_least(1)], "n_compared": [at_least(1)]}

    def __init__(self, net=None, *, buffer_size=10, n_compared=5, active_outputs="auto", random_state=None):
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.buffer_size = buffer_size
        self.n_compared = n_compared

    def before_step(self, call, batch):
        """As many remembered rows as new ones."""
        if hasattr(self, "memory_"):
            index = torch.randint(len(self.memory_), (len(batch),), generator=call.generator)
            batch.memory = self.memory_.take(index.to(batch.x.device))

    def loss(self, call, forward, batch):
        """The sum of both losses."""
        if batch.memory is None:
            return super().loss(call, forward, batch)
        new, old = forward_together(forward, batch.x, batch.memory.x)
        memory = batch.memory
        return call.objective.loss(new, batch.y) + call.objective.loss(old, memory.y, memory.groups)

    def after_training(self, call):
        """Select among the rows of the call."""
        rows, rng = with_groups(call.objective, call.rows), call.rng("selection")
        kept = [(float(s), self.memory_.take(torch.tensor([i]))) for i, s in enumerate(getattr(self, "scores_", ()))]
        directions = [self._direction(call, row) for _, row in kept]
        for k in rng.permutation(len(rows)):
            row = rows.take(torch.tensor([k]))
            direction = self._direction(call, row)
            some = rng.permutation(len(kept))[: self.n_compared]
            score = 1 + max((float(direction.dot(directions[i])) for i in some), default=-1.0)
            if len(kept) < self.buffer_size:
                kept.append((score, row))
                directions.append(direction)
            elif score < 1:
                scores = torch.tensor([s for s, _ in kept], dtype=torch.float64).clamp(min=1e-9).numpy()
                i = rng.choice(len(kept), p=scores / scores.sum())
                if rng.random() < scores[i] / (scores[i] + score):
                    kept[i], directions[i] = (score, row), direction
        self.scores_ = torch.tensor([s for s, _ in kept])
        self.memory_ = Rows(**{n: torch.cat([getattr(row, n) for _, row in kept]) for n in rows.names()})

    def _direction(self, call, row):
        gradient = self.gradient_on(call, row)
        return gradient / gradient.norm().clamp(min=1e-12)


test_battery = battery(GradientSelectionClassifier)


def test_memory_is_diverse():
    x = torch.cat([torch.zeros(190, 2), torch.eye(2).repeat(5, 1)]).add(1e-3).numpy()
    y = [0] * 190 + [0, 1] * 5
    # Of 200 rows 5 have the label 1; a uniform sample of 12 has one of them with probability 0.27.
    for seed in range(5):
        assert 1 in GradientSelectionClassifier(buffer_size=12, random_state=seed).fit(x, y).memory_.y
