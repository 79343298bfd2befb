"""A method as a stranger would write it: features keep the direction that they had in the old network."""

import torch
from helpers.battery import battery
from torch.nn import functional as F

from forgetless.estimators import NetworkClassifier, at_least, frozen_copy


class CosineDistillationClassifier(NetworkClassifier):
    r"""Less-forgetting features: :math:`L + \lambda\,(1 - \cos(h, h^*))`, a mean over rows.

    h are the features of a row, h* those that the network had for it after the last experience.

    Parameters
    ----------
    net : skorch net, default=None
    strength : float, default=1.0
        λ.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
    random_state : int, RandomState instance or None, default=None
    """

    family = "distillation"
    source = "Hou et al. 2019 (LUCIR), the less-forget term"
    pure_steps = True
    carries = {"teacher_": "teacher"}
    parameter_constraints = {"strength": [at_least(0)]}

    def __init__(self, net=None, *, strength=1.0, active_outputs="auto", random_state=None):
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.strength = strength

    def consolidate(self):
        """The network as it is teaches the next experience."""
        self.teacher_ = frozen_copy(self.net_.module_)

    def before_training(self, call):
        """What the teacher makes of each row is computed once."""
        if hasattr(self, "teacher_"):
            call.rows.taught = self.network_features(call.rows.x, self.teacher_)

    def loss(self, call, forward, batch):
        """L + λ (1 − cos)."""
        if "taught" not in batch.names():
            return super().loss(call, forward, batch)
        features, outputs = forward.features_and_outputs(batch.x)
        cosine = F.cosine_similarity(features, batch.taught, dim=-1)
        return call.objective.loss(outputs, batch.y) + self.strength * (1 - cosine).mean(-1)


test_battery = battery(CosineDistillationClassifier)


def test_huge_strength_keeps_directions():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).numpy()
    directions = {}
    for strength in (0.0, 1e4):
        clf = CosineDistillationClassifier(strength=strength, random_state=0).partial_fit(x, x[:, 0] > 0)
        before = clf.network_features(torch.from_numpy(x))
        clf.partial_fit(x, x[:, 1] > 0)
        directions[strength] = F.cosine_similarity(before, clf.network_features(torch.from_numpy(x))).min()
    assert directions[1e4] > 0.99 > directions[0.0]
