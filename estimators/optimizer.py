"""A step of the optimiser on the vector of all parameters: one fused kernel instead of a walk over tensors."""

import torch


def stepper(optimizer, params, theta):
    """How to make steps of an optimiser on a vector of which its parameters are views.

    Adam, AdamW and SGD with one group of parameters, as torch makes them by default, work elementwise; for them the
    same fused kernels that torch uses run once, on whole vectors. Any other optimiser makes its own steps.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    params : list of torch.nn.Parameter
        The trained parameters, in the order of `theta`.
    theta : torch.Tensor of shape (n_parameters,)

    Returns
    -------
    object with ``step(evaluate, gradient)`` and ``finish()``
        ``evaluate()`` returns the loss and leaves its gradient in the vector `gradient`; ``step`` returns the loss.
        After ``finish()`` the optimiser's own state is up to date.
    """
    kinds = {torch.optim.Adam: _FlatAdam, torch.optim.AdamW: _FlatAdam, torch.optim.SGD: _FlatSGD}
    kind = kinds.get(type(optimizer))
    if kind is None or not _is_plain(optimizer, params):
        return _OwnSteps(optimizer, params)
    return kind(optimizer, params, theta)


def _is_plain(optimizer, params):
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


class _OwnSteps:
    """Steps by the optimiser itself, on parameters whose gradients are views of the vector."""

    def __init__(self, optimizer, params):
        self.optimizer = optimizer
        self.params = params

    def step(self, evaluate, gradient):
        def closure():
            loss = evaluate()
            for p, part in zip(self.params, gradient.split([p.numel() for p in self.params]), strict=True):
                p.grad = part.view_as(p)
            return loss

        return self.optimizer.step(closure)

    def finish(self):
        for p in self.params:
            p.grad = None


class _FlatSteps:
    """State of an elementwise optimiser as vectors; its own state tensors are views of them."""

    def __init__(self, optimizer, params, theta):
        self.group = optimizer.param_groups[0]
        self.states = [optimizer.state[p] for p in params]
        self.params = params
        self.theta = [theta]

    def _vector(self, key):
        parts = [state.get(key) for state in self.states]
        parts = [torch.zeros_like(p) if t is None else t for t, p in zip(parts, self.params, strict=True)]
        vector = torch.cat([t.reshape(-1) for t in parts])
        for state, p, view in zip(
            self.states, self.params, vector.split([p.numel() for p in self.params]), strict=True
        ):
            state[key] = view.view_as(p)
        return [vector]


class _FlatAdam(_FlatSteps):
    def __init__(self, optimizer, params, theta):
        super().__init__(optimizer, params, theta)
        decoupled = isinstance(optimizer, torch.optim.AdamW)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        step = self.states[0].get("step")
        self.n_steps = [torch.zeros((), device=theta.device) if step is None else step.clone()]
        self.exp_avg, self.exp_avg_sq = self._vector("exp_avg"), self._vector("exp_avg_sq")

    def step(self, evaluate, gradient):
        loss = evaluate()
        group = self.group
        beta1, beta2 = group["betas"]
        self.n_steps[0] += 1
        self.kernel(
            self.theta,
            [gradient],
            self.exp_avg,
            self.exp_avg_sq,
            [],
            self.n_steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        return loss

    def finish(self):
        for state in self.states:
            state["step"] = self.n_steps[0].clone()


class _FlatSGD(_FlatSteps):
    def __init__(self, optimizer, params, theta):
        super().__init__(optimizer, params, theta)
        self.is_first_step = self.states[0].get("momentum_buffer") is None
        self.momentum_buffer = self._vector("momentum_buffer") if self.group["momentum"] else [None]

    def step(self, evaluate, gradient):
        loss = evaluate()
        group = self.group
        torch._fused_sgd_(
            self.theta,
            [gradient],
            [] if self.momentum_buffer[0] is None else self.momentum_buffer,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=self.is_first_step,
        )
        self.is_first_step = False
        return loss

    def finish(self):
        """Everything is in place."""
