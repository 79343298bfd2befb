"""What distillation of features shares: the features that the network had after the last experience."""

import torch
from torch import nn

from ..engine.call import Call
from ..engine.modules import frozen_copy
from ..engine.passes import Passes
from ..engine.rows import Rows
from ..strategy import NetworkStrategy


class FeatureTeacher(NetworkStrategy):
    """L + D(features of the student, features of the teacher); features are what enters the head."""

    family = "distillation"
    carries = {"teacher_": "teacher"}

    teacher_: nn.Module

    def consolidate(self) -> None:
        """The network as it is becomes the teacher."""
        self.teacher_ = frozen_copy(self.net_.module_)

    def before_training(self, call: Call) -> None:
        """The teacher's features of the new rows are computed once."""
        if hasattr(self, "teacher_"):
            call.rows.taught = self.network_features(call.rows.x, self.teacher_)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """L + D."""
        if "taught" not in batch.names():  # no teacher yet
            return super().loss(call, forward, batch)
        features, outputs = forward.features_and_outputs(batch.x)
        return call.objective.loss(outputs, batch.y) + self.feature_loss(features, batch.taught)

    def feature_loss(self, features: torch.Tensor, taught: torch.Tensor) -> torch.Tensor | float:
        """D, with its weight, of features of shape (n_rows, n_features)."""
        raise NotImplementedError
