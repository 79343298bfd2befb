"""What the quadratic penalties share: springs between the weights and an anchor, and the path of the weights."""

import torch

from ..modules import tensor_bytes
from ..network import NetworkStrategy


class Quadratic(NetworkStrategy):
    """L + ½ κ Σᵢ Ωᵢ (θᵢ − θ*ᵢ)²: each parameter hangs on a spring; methods differ in the importance Ω.

    The weights of outputs that come later have no old value to be held at: growth gives them importance zero.
    """

    _family = "regularization"
    _vectors: tuple[str, ...] = ("importance_", "anchor_")
    _n_noted_: int

    def _stiffness(self):
        """κ: the method's λ where its paper has the ½, else 2 λ."""
        raise NotImplementedError

    def _change_gradient(self, theta, gradient):
        """Add ∂/∂θ of ½ κ Ω (θ − θ*)²."""
        stiffness = self._stiffness()
        if stiffness and hasattr(self, "importance_"):
            gradient.addcmul_(self.importance_, theta - self.anchor_, value=stiffness)

    def _note_mean(self, name, mean, n_rows):
        """Set `name` to the mean over all rows of the running experience; `mean` is that over the rows of this call."""
        n_before = 0 if self._opens_experience_ else self._n_noted_
        if n_before:
            mean = (getattr(self, name) * n_before + mean * n_rows) / (n_before + n_rows)
        setattr(self, name, mean)
        self._n_noted_ = n_before + n_rows

    def _memory(self):
        vectors = (getattr(self, name, None) for name in self._vectors)
        return super()._memory() | {"anchors": tensor_bytes(*vectors)}


class PathIntegral(Quadratic):
    """−∫ g dθ, for each parameter: by how much its motion has lowered the plain loss.

    g is the gradient of the loss without the penalty, and dθ the step that the optimiser then took. During a call,
    `_path_` is the sum since somebody last set it to zero.
    """

    def _begin(self, X, y):
        self._start_ = self.net_.flatten().clone()
        self._before_, self._plain_, self._path_ = (torch.zeros_like(self._start_) for _ in range(3))
        return ()

    def _change_gradient(self, theta, gradient):
        self._before_.copy_(theta)  # copies, since the step overwrites both vectors
        self._plain_.copy_(gradient)
        super()._change_gradient(theta, gradient)

    def _after_step(self, theta):
        self._path_.addcmul_(self._plain_, theta - self._before_, value=-1)

    def _end(self, X, y):
        del self._start_, self._before_, self._plain_, self._path_
