"""Adapters: a frozen network with matrices of low rank for each task."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import nn

from ..engine.call import Call
from ..engine.lora import (
    Adapter,
    adapter_of,
    add_lora,
    fresh_adapter,
    lora_layers,
    merged,
    put_adapter,
    without,
    write_adapter,
)
from ..engine.modules import head_of, twin_of
from ..engine.net import FastLoop
from ..parameters import Integral, above, at_least, one_of
from .per_task import Part, PerTaskClassifier, answers_of, task_of


class AdapterClassifier(PerTaskClassifier):
    r"""A frozen network with an adapter for each task: LoRA's matrices beside its linear layers, and a head.

    A linear layer computes :math:`(W + \frac{\alpha}{r} B A) x`; W is frozen, A (r rows) and B (r columns) are trained,
    and so is the head. Each task has an A that is drawn anew, a B that begins at zero, and a head over its classes:
    what one task learns changes nothing of what another one answers. `net` should have a pretrained module
    (:class:`TextNet`, or any with linear layers), for W is never trained.

    With a task id, the task's adapter answers. Without one, ``routing`` says who does. A prototype is the mean, over
    a class's rows, of the features (what enters the head) of the network without adapters; the row goes to the task
    that has the prototype of the largest cosine. A call without task id opens a task of its own.

    At most ``max_adapters`` adapters are kept: where there would be more, the two that have served longest become one,
    for the tasks of both. Heads stay apart.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    rank : int, default=8
        r.
    alpha : float, default=16.0
        α.
    targets : list of str, default=None
        Names of linear layers that are adapted, or how these end (``["query", "value"]``); None: all but the head.
    routing : {"prototype", "entropy"}, default="prototype"
        "entropy": the most certain network answers, as for :class:`IndependentClassifier`.
    max_adapters : int, default=None
        None: one for each task.
    merging : {"average", "ties"}, default="average"
        How two adapters become one: by the mean of their differences B A, each with the number of its tasks as weight,
        or by TIES; in both cases the nearest matrix of rank r is kept.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    adapters_ : dict of int to tuple of torch.Tensor
        A and B of each layer.
    parts_ : dict of dict
        Of each task the outputs of its classes, the head, the number of its adapter, and sums and counts of the
        features of its classes. Keys are task ids, or ``("experience", k)`` for calls without.
    net_ : ContinualNet
        The network of the running task.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Hu et al., LoRA: low-rank adaptation of large language models, 2021. Yadav et al., TIES-merging: resolving
    interference when merging models, 2023.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import AdapterClassifier
    >>> clf = AdapterClassifier(rank=2, random_state=0)  # doctest: +SKIP
    >>> for e in split_stream(load_digits(), n_experiences=5, scenario="task"):  # doctest: +SKIP
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> len(clf.adapters_)  # doctest: +SKIP
    5
    """

    source = "LoRA: Hu et al. 2021; merging: Yadav et al. 2023"
    keeps = "statistics"
    fixed_parameters = ("rank", "alpha", "targets")
    later_parameters = ("routing", "max_adapters", "merging")
    parameter_constraints = {
        "rank": [at_least(1, Integral)],
        "alpha": [above(0)],
        "targets": [None, list, tuple],
        "routing": [one_of("prototype", "entropy")],
        "max_adapters": [None, at_least(1, Integral)],
        "merging": [one_of("average", "ties")],
    }

    adapters_: dict[int, Adapter]

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        targets: Sequence[str] | None = None,
        routing: str = "prototype",
        max_adapters: int | None = None,
        merging: str = "average",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, random_state=random_state)
        self.rank = rank
        self.alpha = alpha
        self.targets = targets
        self.routing = routing
        self.max_adapters = max_adapters
        self.merging = merging

    # --- the network ---------------------------------------------------------------------------------------------

    def new_network(self, call: Call, n_outputs: int) -> FastLoop:
        """W frozen, with A and B beside it."""
        net = super().new_network(call, n_outputs)
        head = head_of(net.module_)
        if lora_layers(net.module_):
            raise ValueError(
                "net has LoRA's matrices already; AdapterClassifier adds its own: give the module without (lora_rank)."
            )
        with call.seeded("adapters"):
            add_lora(net.module_, self.rank, self.alpha, self.targets, but=head)
        head.requires_grad_(True)
        net.initialize_optimizer()
        net.module_.eval()
        return net

    def open_task(self, call: Call, n_outputs: int, part: Part | None) -> None:
        """A new task begins with a fresh adapter."""
        is_first = not hasattr(self, "net_")
        super().open_task(call, n_outputs, part)
        if not is_first and call.opens_experience and part is None:
            with call.seeded("adapters"):
                write_adapter(self.net_.module_, fresh_adapter(self.net_.module_))

    def resume(self, part: Part) -> None:
        """Head and adapter come back."""
        super().resume(part)
        write_adapter(self.net_.module_, self.adapters_[part["adapter"]])

    def task_network(self, part: Part) -> nn.Module:
        """The network with the task's head and adapter; W is shared."""
        module = twin_of(self.net_.module_)
        head = head_of(module)
        for name, kept in zip(("weight", "bias"), part["head"], strict=False):
            setattr(head, name, nn.Parameter(kept, requires_grad=False))
        head.out_features = len(part["outputs"])
        put_adapter(module, self.adapters_[part["adapter"]])
        return module

    # --- what is kept --------------------------------------------------------------------------------------------

    def finish_training(self, call: Call) -> None:
        """Keep adapter and prototypes of the task; merge where there are too many."""
        key, parts = task_of(call), getattr(self, "parts_", {})
        before = parts.get(key)
        super().finish_training(call)
        features = self._features(call.rows.x)
        sums = features.new_zeros(len(call.state.outputs), features.shape[1])
        sums.index_add_(0, call.rows.y, features)
        counts = torch.bincount(call.rows.y, minlength=len(sums)).to(sums)
        adapters = getattr(self, "adapters_", {})
        if before is None:
            number = 1 + max(adapters, default=-1)
        else:
            number = before["adapter"]
            if any(part["adapter"] == number for task, part in parts.items() if task != key):
                number = 1 + max(adapters)  # what was merged stays that of the others
            sums[: len(before["sums"][0])] += before["sums"][0]
            counts[: len(before["counts"][0])] += before["counts"][0]
        own = {**self.parts_[key], "adapter": number, "sums": (sums,), "counts": (counts,)}
        self.adapters_ = {**adapters, number: adapter_of(self.net_.module_)}
        self.parts_ = {**self.parts_, key: own}
        while self.max_adapters is not None and len(self.adapters_) > self.max_adapters:
            self._merge_oldest()

    def _merge_oldest(self) -> None:
        """The two adapters that have served longest become one."""
        first, second = sorted(self.adapters_)[:2]
        n_tasks = [sum(part["adapter"] == number for part in self.parts_.values()) for number in (first, second)]
        weights = [n / sum(n_tasks) for n in n_tasks]
        adapter = merged([self.adapters_[first], self.adapters_[second]], weights, self.merging)
        self.adapters_ = {first: adapter, **{k: kept for k, kept in self.adapters_.items() if k not in (first, second)}}
        self.parts_ = {
            task: {**part, "adapter": first if part["adapter"] == second else part["adapter"]}
            for task, part in self.parts_.items()
        }

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Features of the network without adapters."""
        module = twin_of(self.net_.module_)
        put_adapter(module, without(adapter_of(module)))
        return self.network_features(x, module)

    def carried(self) -> Iterator[tuple[str, Any]]:
        """The network, heads, adapters and prototypes."""
        yield from super().carried()
        yield "weights", getattr(self, "adapters_", {})

    # --- predictions ---------------------------------------------------------------------------------------------

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Logarithms of the probabilities of the network of the task that has the nearest prototype."""
        parts = getattr(self, "parts_", {})
        if not parts or self.routing == "entropy":
            return super().output_scores(X)
        features = nn.functional.normalize(self._features(self.on_device(X)), dim=1)
        nearest = []
        for part in parts.values():
            prototypes = nn.functional.normalize(part["sums"][0] / part["counts"][0][:, None].clamp(min=1), dim=1)
            nearest.append((features @ prototypes.T).amax(dim=1))
        chosen = torch.stack(nearest).argmax(dim=0).cpu().numpy()
        return answers_of(chosen, [self.answer(X, part) for part in parts.values()], len(self.classes_))
