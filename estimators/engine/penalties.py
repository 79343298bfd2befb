"""Terms that methods of several families add to a loss or a gradient, and the means over rows that they need."""

from __future__ import annotations

import torch

from .objective import log_softmax


def add_quadratic_gradient(
    gradient: torch.Tensor, theta: torch.Tensor, anchor: torch.Tensor, importance: torch.Tensor, strength: float
) -> None:
    r"""Add the gradient of :math:`\frac12 \kappa \sum_i \Omega_i (\theta_i - \theta^*_i)^2` to `gradient`, in place.

    Parameters
    ----------
    gradient, theta, anchor, importance : torch.Tensor of shape (..., n_parameters)
        θ* is the anchor, Ω the importance.
    strength : float
        κ: a method's λ where its paper has the ½, else 2 λ. With 0 nothing is done.
    """
    if strength:
        gradient.addcmul_(importance, theta - anchor, value=strength)


def step_implicitly(
    theta: torch.Tensor, anchor: torch.Tensor, importance: torch.Tensor, strength: float, rates: float | torch.Tensor
) -> None:
    r"""Move weights to their anchors by an implicit step of a quadratic penalty, in place; stable for any strength.

    A step of length η along the gradient of :math:`\frac12 \kappa \sum_i \Omega_i (\theta_i - \theta^*_i)^2`, taken at
    the weights as they are, multiplies the distance from the anchor by :math:`1 - \eta\kappa\Omega_i`: it overshoots
    where :math:`\eta\kappa\Omega_i > 1` and grows without bound beyond 2. Adam, whose steps have a length of about η
    whatever the gradient is, oscillates. Taken at the weights as they will be, :math:`\theta_i = \tilde\theta_i -
    \eta\kappa\Omega_i (\theta_i - \theta^*_i)`, where :math:`\tilde\theta` are the weights after the optimiser's step
    down the loss alone, the step is solved by

    .. math:: \theta_i = \theta^*_i + \frac{\tilde\theta_i - \theta^*_i}{1 + \eta\kappa\Omega_i},

    the proximal step, :math:`\arg\min_\theta \frac12 \kappa \sum_i \Omega_i (\theta_i - \theta^*_i)^2 + \sum_i
    \frac{1}{2\eta_i} (\theta_i - \tilde\theta_i)^2`. With plain SGD and small :math:`\eta\kappa\Omega_i` both steps
    are the same to first order.

    Parameters
    ----------
    theta, anchor, importance : torch.Tensor of shape (..., n_parameters)
        θ̃, which becomes θ; θ*, Ω.
    strength : float
        κ: a method's λ where its paper has the ½, else 2 λ. With 0 nothing is done.
    rates : float or torch.Tensor of shape (..., n_parameters)
        η, ``call.rates()``. Where an optimiser has a rate for each weight, as Adam has η / (√v̂ + ε), the step has it,
        too, so that loss and penalty are weighed as in their sum.

    References
    ----------
    Parikh & Boyd, Proximal algorithms, 2014.
    """
    if strength:
        # Finite, so that no importance is no pull, and the share below is 1 where the penalty is all that counts.
        most = torch.finfo(theta.dtype).max / 2
        stiffness = (importance * rates).mul_(min(strength, most)).clamp_(max=most)
        torch.lerp(theta, anchor, stiffness.div_(stiffness + 1), out=theta)


def combined_mean(before: torch.Tensor | None, n_before: int, mean: torch.Tensor, n_rows: int) -> torch.Tensor:
    """The mean over `n_before` rows, whose mean is `before`, and `n_rows` rows, whose mean is `mean`.

    Parameters
    ----------
    before : torch.Tensor or None
        None if there were none.
    n_before : int
        How many there were.
    mean : torch.Tensor
        Of the shape of `before`.
    n_rows : int
        How many there are.

    Returns
    -------
    torch.Tensor

    Examples
    --------
    >>> combined_mean(torch.tensor([1.0]), 3, torch.tensor([5.0]), 1)
    tensor([2.])
    """
    return (before * n_before + mean * n_rows) / (n_before + n_rows) if n_before and before is not None else mean


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float,
    outputs: torch.Tensor | slice = slice(None),
    reduction: str = "sum",
) -> torch.Tensor:
    """KL(teacher ‖ student) of softmax outputs at a temperature, mean over rows.

    Parameters
    ----------
    student, teacher : torch.Tensor of shape (n_rows, n_outputs)
        Logits.
    temperature : float
    outputs : index, default=slice(None)
        Which of the student's outputs the teacher's are; of all others the teacher says that they have probability 0.
    reduction : {"sum", "mean"}, default="sum"
        Over the outputs in the student's softmax: their sum is the divergence, their mean that over their number.
        Outputs with the logit minus infinity are not in it.

    Returns
    -------
    torch.Tensor, scalar

    References
    ----------
    Hinton, Vinyals & Dean, Distilling the knowledge in a neural network, 2015.
    """
    log_q = log_softmax(student / temperature)[..., outputs]
    log_p = log_softmax(teacher / temperature)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
    if reduction == "mean":
        divergence = divergence / (student > -torch.inf).sum(-1)
    return divergence.mean(-1)
