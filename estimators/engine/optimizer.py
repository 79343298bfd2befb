"""A step of the optimiser on the vector of all parameters: one fused kernel instead of a walk over tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

Params = Sequence[nn.Parameter]


def stepper(optimizers: Sequence[torch.optim.Optimizer], params: Sequence[Params], theta: torch.Tensor) -> Any:
    """How to make steps of optimisers on vectors of which their parameters are views.

    Adam, AdamW and SGD with one group of parameters, as torch makes them by default, work elementwise; for them the
    fused kernels that torch uses run on whole vectors. Any other optimiser makes its own steps.

    Parameters
    ----------
    optimizers : list of torch.optim.Optimizer
        One, or one for each network that is trained at the same time.
    params : list of list of torch.nn.Parameter
        The trained parameters of each, in the order of its vector.
    theta : torch.Tensor of shape (n_parameters,), or (n_optimizers, n_parameters) for several

    Returns
    -------
    FlatSteps, OwnSteps or None
        None if several cannot make their steps together. ``is_flat`` says which of the two it is: the first have
        ``update(gradient)``, the second ``step(evaluate, gradient)``, where ``evaluate()`` returns the loss and leaves
        its gradient in `gradient`, of the shape of `theta`. Steps with equal ``settings()`` are the same work on a
        device; where steps are the optimiser's own, these are None. After ``finish()`` the optimisers' own states are
        up to date.
    """
    kinds = {torch.optim.Adam: _FlatAdam, torch.optim.AdamW: _FlatAdam, torch.optim.SGD: _FlatSGD}
    kind = kinds.get(type(optimizers[0]))
    if kind is not None and all(map(_is_plain, optimizers, params)):
        return kind(optimizers, params, theta)
    return OwnSteps(optimizers[0], params[0]) if len(optimizers) == 1 else None


def _is_plain(optimizer: torch.optim.Optimizer, params: Params) -> bool:
    """One group with all parameters and equal histories, and nothing that watches or changes `step`."""
    if len(optimizer.param_groups) != 1 or "step" in vars(optimizer):
        return False
    group = optimizer.param_groups[0]
    special = ("amsgrad", "maximize", "differentiable", "capturable", "foreach")
    if not group["fused"] or any(group.get(name) for name in special) or torch.is_tensor(group["lr"]):
        return False
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return False
    steps = {float(state["step"]) if "step" in (state := optimizer.state.get(p, {})) else None for p in params}
    return len(steps) == 1 and [id(p) for p in group["params"]] == [id(p) for p in params]


# What state begins with, where that is not 0: the name of the setting.
_FIRST_VALUES = {"step_size": "lr", "sum": "initial_accumulator_value"}


def resized_state(state: dict[str, Any], group: dict[str, Any], old: torch.Tensor, new: torch.Tensor) -> dict[str, Any]:
    """State of a parameter whose number of rows has changed: rows are kept, and new ones begin as the optimiser's do.

    Parameters
    ----------
    state : dict
        The optimiser's, of the parameter as it was.
    group : dict
        The settings of the group that the parameter is in.
    old, new : torch.Tensor
    """
    resized = {}
    for key, value in state.items():
        # Adafactor has a number for each row and one for each column; the latter stay.
        if torch.is_tensor(value) and value.shape[:1] == old.shape[:1] and key != "col_var":
            first = group.get(_FIRST_VALUES.get(key, ""), 0.0)
            rows = value[: len(new)]
            fresh = value.new_full((max(len(new) - len(old), 0), *value.shape[1:]), float(first))
            value = torch.cat([rows, fresh])
        resized[key] = value
    return resized


def meet_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Tell an optimiser that notes its parameters when it is built what they are now.

    They change when a head grows and when layers are frozen, and pickles leave them out. LBFGS is such a one; what it
    knows of the curvature is about the parameters as they were, so where their number changes, it begins anew.
    """
    if not isinstance(optimizer, torch.optim.LBFGS):
        return
    [group] = optimizer.param_groups
    optimizer._params, optimizer._numel_cache = group["params"], None
    size = sum(p.numel() for p in group["params"])
    state = next((entry for entry in optimizer.state.values() if "prev_flat_grad" in entry), None)
    known = None if state is None else state["prev_flat_grad"]
    of_first = optimizer.state.get(group["params"][0], {}) if group["params"] else {}
    if known is not None and (len(known) != size or of_first is not state):
        optimizer.state.clear()


def learning_rates(optimizer: torch.optim.Optimizer, params: Params) -> Any:
    """The rate of an optimiser as it is now: one number, or one for each weight where groups of parameters differ.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    params : sequence of torch.nn.Parameter
        In the order of the weights.

    Returns
    -------
    float or torch.Tensor of shape (n_parameters,)
    """
    first, *others = (group["lr"] for group in optimizer.param_groups)
    if all(rate == first for rate in others):
        return first
    of_parameter = {p: float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    return torch.cat([torch.full_like(p.detach().flatten(), of_parameter[p]) for p in params])


class OwnSteps:
    """Steps by the optimiser itself, on parameters whose gradients are views of the vector."""

    is_flat = False

    def __init__(self, optimizer: torch.optim.Optimizer, params: Params) -> None:
        self.optimizer = optimizer
        self.params = params

    def settings(self) -> None:
        """None: what a step depends on is not known."""

    def step(self, evaluate: Callable[[], torch.Tensor], gradient: torch.Tensor) -> torch.Tensor:
        """One step; returns the loss."""

        def closure() -> torch.Tensor:
            loss = evaluate()
            for p, part in zip(self.params, torch.split(gradient, [p.numel() for p in self.params]), strict=True):
                p.grad = part.view_as(p)
            return loss

        return self.optimizer.step(closure)  # type: ignore[arg-type, return-value]

    def rates(self) -> Any:
        """How far a step moves a weight whose gradient stays 1; what the optimiser makes of its rate is not known."""
        return learning_rates(self.optimizer, self.params)

    def finish(self) -> None:
        """Leave no gradients behind."""
        for p in self.params:
            p.grad = None


class FlatSteps:
    """State of elementwise optimisers as a matrix with a row for each, of which their own state tensors are views."""

    is_flat = True
    # What a step depends on, in a group of parameters.
    names: tuple[str, ...] = ()

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], params: Sequence[Params], theta: torch.Tensor
    ) -> None:
        self.group = optimizers[0].param_groups[0]
        self.params = params
        self.states = [[o.state[p] for p in own] for o, own in zip(optimizers, params, strict=True)]
        self.theta = theta.view(len(optimizers), -1)

    def _matrix(self, key: str) -> torch.Tensor:
        """State `key` of all optimisers; zeros where there is none yet."""
        matrix = torch.zeros_like(self.theta)
        for row, states, params in zip(matrix, self.states, self.params, strict=True):
            for state, p, view in zip(states, params, torch.split(row, [p.numel() for p in params]), strict=True):
                if state.get(key) is not None:
                    view.copy_(state[key].reshape(-1))
                state[key] = view.view_as(p)
        return matrix

    def _lay_out(self, *matrices: torch.Tensor) -> None:
        """Note `theta` and states as what kernels take: lists of vectors, of all optimisers as one, and of each."""
        self.as_one = [[matrix.view(-1)] for matrix in matrices]
        self.of_each = [list(matrix) for matrix in matrices]

    def update(self, gradient: torch.Tensor, only: int | None = None) -> None:
        """One step of all optimisers, or `only` of one, whose gradient is then given."""
        if only is not None:
            self._run([[vectors[only]] for vectors in self.of_each], [gradient], only)
        elif self._are_alike():  # they are one optimiser of one long vector
            self._run(self.as_one, [gradient.view(-1)])
        else:
            self._run(self.of_each, list(gradient))

    def finish(self) -> None:
        """Bring the optimisers' own states up to date; those of a stack no longer share memory."""
        if len(self.theta) > 1:
            for state in itertools.chain.from_iterable(self.states):
                state.update({key: value.clone() for key, value in state.items() if torch.is_tensor(value)})

    def rates(self, only: int | None = None) -> Any:
        """How far a step of all optimisers, or `only` of one, moves a weight whose gradient stays 1.

        One number, or a tensor of the shape of their weights.
        """
        raise NotImplementedError

    def settings(self) -> Hashable:
        """What a step depends on that is not in vectors."""
        group = self.group
        return self._are_alike(), *(group[name] for name in self.names)

    def _are_alike(self) -> bool:
        """Whether the optimisers are alike in what is not a vector."""
        raise NotImplementedError

    def _run(self, vectors: list[list[torch.Tensor]], gradients: list[torch.Tensor], only: int | None = None) -> None:
        """A step on vectors as :meth:`_lay_out` has them, with the gradient of each."""
        raise NotImplementedError


class _FlatAdam(FlatSteps):
    names = ("lr", "betas", "eps", "weight_decay")

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], params: Sequence[Params], theta: torch.Tensor
    ) -> None:
        super().__init__(optimizers, params, theta)
        decoupled = isinstance(optimizers[0], torch.optim.AdamW)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        # Counted on the device, where a recorded step can count on; how far apart they are is known here, too.
        self.lead = [int(states[0].get("step", 0)) for states in self.states]
        self.n_steps = torch.tensor(self.lead, dtype=torch.float32, device=theta.device)
        self.counts = list(self.n_steps)
        self._lay_out(self.theta, self._matrix("exp_avg"), self._matrix("exp_avg_sq"))

    def _are_alike(self) -> bool:
        return len(set(self.lead)) == 1

    def _run(self, vectors: list[list[torch.Tensor]], gradients: list[torch.Tensor], only: int | None = None) -> None:
        group = self.group
        beta1, beta2 = group["betas"]
        if only is None:
            self.n_steps.add_(1)
            counts = self.counts[: len(gradients)]
        else:
            counts = [self.counts[only].add_(1)]
            self.lead[only] += 1
        theta, exp_avg, exp_avg_sq = vectors
        self.kernel(
            theta,
            gradients,
            exp_avg,
            exp_avg_sq,
            [],
            counts,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def rates(self, only: int | None = None) -> torch.Tensor:
        """η / (√v̂ + ε)."""
        group = self.group
        n_steps = self.n_steps[:, None] if only is None else self.n_steps[only]
        squares = torch.stack(self.of_each[2]) if only is None else self.of_each[2][only]
        deviation = (squares / (1 - group["betas"][1] ** n_steps)).sqrt_()
        return torch.reciprocal(deviation.add_(group["eps"])).mul_(group["lr"])

    def finish(self) -> None:
        """Bring the optimisers' own states up to date, counts included."""
        for states, n in zip(self.states, self.counts, strict=True):
            for state in states:
                state["step"] = n.clone()
        super().finish()


class _FlatSGD(FlatSteps):
    names = ("lr", "momentum", "dampening", "weight_decay", "nesterov")

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], params: Sequence[Params], theta: torch.Tensor
    ) -> None:
        super().__init__(optimizers, params, theta)
        self.is_first_step = [states[0].get("momentum_buffer") is None for states in self.states]
        self._lay_out(self.theta, *([self._matrix("momentum_buffer")] if self.group["momentum"] else []))

    def rates(self, only: int | None = None) -> float:
        """η (1 − d) / (1 − μ), with dampening d and momentum μ; η without momentum."""
        momentum, lr = self.group["momentum"], float(self.group["lr"])
        return lr * (1 - self.group["dampening"]) / (1 - momentum) if 0 < momentum < 1 else lr

    def _are_alike(self) -> bool:
        return True  # seeds of a stack have made the same number of calls

    def _run(self, vectors: list[list[torch.Tensor]], gradients: list[torch.Tensor], only: int | None = None) -> None:
        group = self.group
        taking_part = slice(None) if only is None else slice(only, only + 1)
        theta, *buffers = vectors
        torch._fused_sgd_(
            theta,
            gradients,
            *(buffers or [[]]),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=False,
            # A first step fills the buffer with the gradient itself.
            is_first_step=all(self.is_first_step[taking_part]),
        )
        self.is_first_step[taking_part] = [False] * len(self.is_first_step[taking_part])
