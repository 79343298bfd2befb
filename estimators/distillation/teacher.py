"""What distillation methods share: the network after the last experience, whose answers are the teacher."""

from ..modules import Features, frozen_copy, tensor_bytes
from ..network import NetworkStrategy


class Teacher(NetworkStrategy):
    """From the second experience on, batches carry what the old network says of their rows, computed once a call."""

    _family = "distillation"

    def _new_experience(self):
        self.teacher_ = frozen_copy(self.net_.module_)

    def _begin(self, X, y):
        return (self._taught(X),) if hasattr(self, "teacher_") else ()

    def _taught(self, X):
        """What the teacher says of the rows."""
        return self._outputs(X, self.teacher_)

    def _memory(self):
        teacher = [*self.teacher_.parameters(), *self.teacher_.buffers()] if hasattr(self, "teacher_") else ()
        return super()._memory() | {"teacher": tensor_bytes(*teacher)}


class FeatureTeacher(Teacher):
    """L + D(features of the student, features of the teacher); features are what enters the head."""

    def _taught(self, X):
        return self._outputs(X, Features(self.teacher_))

    def _loss(self, forward, batch):
        if len(batch) == 2:  # no teacher yet
            return super()._loss(forward, batch)
        x, y, taught = batch
        features, outputs = forward.features_and_outputs(x)
        return self._task_loss(outputs, y) + self._distillation(features, taught)

    def _distillation(self, features, taught):
        """D, with its weight."""
        raise NotImplementedError
