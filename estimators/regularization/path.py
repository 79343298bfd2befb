"""The path of the weights during a call: by how much the motion of each parameter has lowered the plain loss."""

from types import SimpleNamespace

import torch

from ..engine.call import Call


def start_path(state: SimpleNamespace, theta: torch.Tensor) -> None:
    """Begin at `theta`: ``state.path`` is then the sum of −g dθ, for each parameter, since somebody set it to zero.

    g is the gradient of the loss without a penalty, and dθ the step that the optimiser then took; ``state.start`` are
    the weights here. :func:`note_gradient` and :func:`note_step` keep the sum up.

    Parameters
    ----------
    state : types.SimpleNamespace
        Of the call.
    theta : torch.Tensor of shape (n_parameters,)
    """
    state.start = theta.clone()
    state.before, state.plain_gradient, state.path = (torch.zeros_like(theta) for _ in range(3))


def note_gradient(call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
    """Note the weights before a step and the gradient of the plain loss; copies, since the step overwrites both."""
    state = call.state
    if call.evaluation:
        note_step(state, theta)
    state.before.copy_(theta)
    state.plain_gradient.copy_(gradient)


def note_step(state: SimpleNamespace, theta: torch.Tensor) -> None:
    """Add a step, from the weights and along the gradient that were noted."""
    state.path.addcmul_(state.plain_gradient, theta - state.before, value=-1)
