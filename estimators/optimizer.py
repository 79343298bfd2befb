"""A step of the optimiser on the vector of all parameters: one fused kernel instead of a walk over tensors."""

import torch


def stepper(optimizers, params, thetas):
    """How to make steps of optimisers on vectors of which their parameters are views.

    Adam, AdamW and SGD with one group of parameters, as torch makes them by default, work elementwise; for them the
    fused kernels that torch uses run on whole vectors. Any other optimiser makes its own steps.

    Parameters
    ----------
    optimizers : list of torch.optim.Optimizer
        One, or one for each network that is trained at the same time.
    params : list of list of torch.nn.Parameter
        The trained parameters of each, in the order of its vector.
    thetas : list of torch.Tensor of shape (n_parameters,)

    Returns
    -------
    object with ``step(evaluate, gradient)`` and ``finish()``, or None if several cannot make their steps together
        ``evaluate()`` returns the loss and leaves its gradient in the vector `gradient`; ``step`` returns the loss.
        After ``finish()`` the optimisers' own states are up to date.
    """
    kinds = {torch.optim.Adam: _FlatAdam, torch.optim.AdamW: _FlatAdam, torch.optim.SGD: _FlatSGD}
    kind = kinds.get(type(optimizers[0]))
    if kind is not None and all(map(_is_plain, optimizers, params)):
        return kind(optimizers, params, thetas)
    return _OwnSteps(optimizers[0], params[0]) if len(optimizers) == 1 else None


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
    """State of elementwise optimisers as vectors, of which their own state tensors are views."""

    def __init__(self, optimizers, params, thetas):
        self.group = optimizers[0].param_groups[0]
        self.states = [[o.state[p] for p in own] for o, own in zip(optimizers, params, strict=True)]
        self.thetas = thetas
        self.params = params

    def _vectors(self, key):
        """State `key` of each optimiser as a vector; zeros where there is none yet."""
        vectors = []
        for states, params in zip(self.states, self.params, strict=True):
            parts = [torch.zeros_like(p) if s.get(key) is None else s[key] for s, p in zip(states, params, strict=True)]
            vectors.append(torch.cat([t.reshape(-1) for t in parts]))
            views = vectors[-1].split([p.numel() for p in params])
            for state, p, view in zip(states, params, views, strict=True):
                state[key] = view.view_as(p)
        return vectors

    def step(self, evaluate, gradient):
        loss = evaluate()
        self.update([gradient])
        return loss

    def update(self, gradients, which=slice(None)):
        """One step of those optimisers that `which` selects."""
        raise NotImplementedError


class _FlatAdam(_FlatSteps):
    def __init__(self, optimizers, params, thetas):
        super().__init__(optimizers, params, thetas)
        decoupled = isinstance(optimizers[0], torch.optim.AdamW)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        steps = [states[0].get("step") for states in self.states]
        self.n_steps = [
            torch.zeros((), device=t.device) if n is None else n.clone() for n, t in zip(steps, thetas, strict=True)
        ]
        self.exp_avg, self.exp_avg_sq = self._vectors("exp_avg"), self._vectors("exp_avg_sq")

    def update(self, gradients, which=slice(None)):
        group = self.group
        beta1, beta2 = group["betas"]
        n_steps = self.n_steps[which]
        torch._foreach_add_(n_steps, 1)
        self.kernel(
            self.thetas[which],
            gradients,
            self.exp_avg[which],
            self.exp_avg_sq[which],
            [],
            n_steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def finish(self):
        for states, n_steps in zip(self.states, self.n_steps, strict=True):
            for state in states:
                state["step"] = n_steps.clone()


class _FlatSGD(_FlatSteps):
    def __init__(self, optimizers, params, thetas):
        super().__init__(optimizers, params, thetas)
        self.is_first_step = [states[0].get("momentum_buffer") is None for states in self.states]
        self.momentum_buffer = self._vectors("momentum_buffer") if self.group["momentum"] else []

    def update(self, gradients, which=slice(None)):
        group = self.group
        # A first step fills the buffer with the gradient itself; seeds of a stack have made the same number of calls.
        torch._fused_sgd_(
            self.thetas[which],
            gradients,
            self.momentum_buffer[which],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=all(self.is_first_step[which]),
        )
        self.is_first_step[which] = [False] * len(gradients)

    def finish(self):
        """Everything is in place."""
