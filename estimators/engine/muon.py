"""Muon for networks that have biases, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class MuonAdamW(torch.optim.Optimizer):
    """Muon for matrices, and AdamW for all other parameters, such as biases, which Muon does not take.

    Both have one rate and one weight decay: steps of ``torch.optim.Muon`` are scaled to the size of those of AdamW
    (``adjust_lr_fn="match_rms_adamw"``), so that rates that are good for AdamW are good for both.

    Parameters
    ----------
    params : iterable of torch.nn.Parameter
    lr : float, default=1e-3
    weight_decay : float, default=0.01
        Not added to the gradient: weights shrink by lr times it in each step.
    momentum : float, default=0.95
        Of Muon.
    betas : tuple of float, default=(0.9, 0.999)
        Of AdamW.

    References
    ----------
    Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024. Liu et al., Muon is scalable for LLM
    training, 2025.

    Examples
    --------
    >>> from forgetless.datasets import load_digits
    >>> from forgetless.estimators import MLP, ContinualNet, MuonAdamW, NaiveClassifier
    >>> digits = load_digits()
    >>> clf = NaiveClassifier(ContinualNet(MLP, optimizer=MuonAdamW, lr=0.01), random_state=0)
    >>> clf.fit(digits.X_train, digits.y_train).score(digits.X_test, digits.y_test) > 0.9
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what `closure` returns."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            common = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
            matrices = [p for p in group["params"] if p.ndim == 2]
            others = [p for p in group["params"] if p.ndim != 2]
            parts: list[torch.optim.Optimizer] = []
            if matrices:
                parts.append(
                    torch.optim.Muon(matrices, momentum=group["momentum"], adjust_lr_fn="match_rms_adamw", **common)
                )
            if others:
                parts.append(torch.optim.AdamW(others, betas=group["betas"], **common))
            for part in parts:
                part.state = self.state
                part.step()
        return loss
