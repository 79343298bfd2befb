"""Strategies around a network: the hooks in which methods differ, and everything they have in common."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.nn.utils import parameters_to_vector

from .base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from .engine.call import Call
from .engine.loop import Descend, check_unchanged, idle, train
from .engine.modules import MLP, Features, fixed_statistics, normalises_each_batch
from .engine.net import ContinualNet, ContinualRegressionNet, FastLoop, copied, settings_of
from .engine.objective import Classification, Objective, Regression, as_logits, criterion_for_outputs
from .engine.optimizer import learning_rates
from .engine.passes import ChainPasses, Passes, passes_of, stacked_passes_of
from .engine.randomness import has_own_draws, may_draw, own_draws
from .engine.rows import Rows, StackedRows, rows_of, tensor_of
from .engine.vectors import vectors_of
from .engine.work import note
from .inputs import as_labels
from .parameters import one_of

# Rows per forward pass when nothing is learned; bounds memory, and is large enough that the loop costs nothing.
_PREDICT_ROWS = 16384
# BLAS has other kernels for a handful of rows; filled up, a row gets the same bits alone and in company.
_LEAST_ROWS = 32


class NetworkStrategy(ContinualEstimator):
    r"""A method that trains a network; it overrides a few of these hooks.

    ======================== ============================================ ============================================
    Hook                     Called                                       May change
    ======================== ============================================ ============================================
    :meth:`consolidate`      when an experience opens, while the network  what the method keeps
    \                        is still as the one before left it
    :meth:`before_training`  before the first step of a call              ``call.rows``, ``call.state``,
    \                                                                     ``call.objective``, what the method keeps
    :meth:`before_step`      before each step of the optimiser            fields of the batch, such as
    \                                                                     ``batch.memory``; vectors
    :meth:`loss`             in each step                                 nothing
    :meth:`after_backward`   in each step, when the gradient of the loss  the gradient, in place; vectors
    \                        is there
    :meth:`after_step`       when the optimiser has moved the weights     the weights, in place; what the method keeps
    :meth:`after_training`   after the last step of a call                what the method keeps
    :meth:`learn_batch`      for each batch, in place of one step of the  the weights, in place; what the method keeps
    \                        optimiser
    ======================== ============================================ ============================================

    ``theta`` is the vector of all trained parameters, and writing to it moves the network; ``gradient`` is the vector
    of their gradients. A tensor of the shape of `theta` in an attribute is a *vector*: when the head grows, it grows by
    zeros, and where seeds are stacked, they see a matrix. Draws come from ``call.generator`` and ``call.rng(purpose)``.
    What is needed within a call only stands in ``call.state``.

    Attributes
    ----------
    pure_steps : bool
        Whether seeds can be stacked and steps recorded: :meth:`loss` and :meth:`after_backward` are functions of their
        arguments, of ``call.state`` and of vectors; they, :meth:`learn_batch` and :meth:`after_step` keep dimensions
        before that of a vector, and before rows and outputs. Only :meth:`before_step` and :meth:`after_step` ask for
        ``call.step``, which differs between seeds that have other numbers of batches. Each vector is there when
        training begins. Tests prove it for each class that says so.
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "net": [None, NeuralNet],
        "active_outputs": [one_of("auto", "all", "seen", "task")],
        "random_state": ["random_state"],
    }
    pure_steps: bool = False

    net: NeuralNet | None
    active_outputs: str = "auto"
    random_state: Any
    net_: FastLoop
    output_groups_: dict[Hashable, NDArray[np.int64] | None]
    # Where the classes of this estimator are the outputs of another one that it serves: the labels of these.
    labels_: NDArray[Any] | None = None

    # --- hooks ---------------------------------------------------------------------------------------------------

    @idle
    def consolidate(self) -> None:
        """An experience opens: consolidate the one before, whose result the network still is."""

    @idle
    def before_training(self, call: Call) -> None:
        """Prepare a call; ``call.rows`` are trained on."""

    @idle
    def before_step(self, call: Call, batch: Rows) -> None:
        """Add to a batch what its step needs; replay sets ``batch.memory``."""

    @idle
    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """Loss of a batch; `forward` maps inputs to outputs, ``forward.features_and_outputs`` to both."""
        return call.objective.loss(forward(batch.x), batch.y, batch.groups)

    @idle
    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Change the gradient in place: add a penalty's gradient, project, mask."""

    @idle
    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The optimiser has moved `theta`; ``batch.outputs`` are those of the first forward pass, before it moved."""

    @idle
    def after_training(self, call: Call) -> None:
        """Keep of a call what later ones need."""

    @idle
    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """Learn from a batch of new rows: by ``descend(batch)``, one step of the optimiser, which returns the loss."""
        return descend(batch)

    # --- what else the loop asks ----------------------------------------------------------------------------------

    @property
    def fixes_statistics(self) -> bool:
        """Whether batch normalisation uses the statistics so far, in training too, and leaves them as they are."""
        return False

    def validation_loss(self, call: Call, module: nn.Module, rows: Rows) -> torch.Tensor:
        """Plain loss of held-out rows."""
        return call.objective.loss(module(rows.x), rows.y, rows.groups)

    # --- one call ------------------------------------------------------------------------------------------------

    def learn(self, call: Call) -> None:
        """Learn the rows of a call."""
        self.start_training(call)
        self.train(call)
        self.finish_training(call)

    def start_training(self, call: Call) -> None:
        """What comes before the loop: the network, the objective, the rows on the network's device."""
        self.ready_network(call)
        call.objective = self.new_objective(call)
        call.rows = self.device_rows(call)
        self.net_.open_outputs(call.objective.inactive_outputs)
        with self._drawing(call, "begin"):
            self.before_training(call)
            params = self.net_.trainable()
            self.net_.notify("on_train_begin", X=call.rows.x, y=call.rows.y)
            check_unchanged(self.net_, params)

    def train(self, call: Call) -> None:
        """The loop."""
        with self._drawing(call, "training"):
            train(self.net_, self, call, call.torch_generator("order"))

    def finish_training(self, call: Call) -> None:
        """What comes after the loop."""
        with self._drawing(call, "end"):
            self.net_.notify("on_train_end", X=call.rows.x, y=call.rows.y)
            self.net_.open_outputs(None)
            self.after_training(call)

    def _drawing(self, call: Call, purpose: str) -> AbstractContextManager[None]:
        """Where something of the net may draw, it draws from the call's seed."""
        return call.seeded(purpose, in_loop=True) if may_draw(self.net_) else nullcontext()

    def ready_network(self, call: Call) -> None:
        """Build the network at the first call; later, consolidate where an experience opens, and grow the head."""
        if not hasattr(self, "net_"):
            self.net_ = self.new_network(call, self.n_network_outputs())
            return
        self.follow_prototype()
        self.net_.start_call()
        if call.opens_experience and call.experience > 1:
            self.consolidate()
            self.net_.start_experience()
        shapes = self.net_.shapes()
        with call.seeded("weights"):
            self.net_.resize_head(self.n_network_outputs())
        if shapes != self.net_.shapes():
            for name, vector in vectors_of(self, (sum(shape.numel() for shape in shapes),)):
                setattr(self, name, self.net_.fit_vector(vector, shapes))

    def new_network(self, call: Call, n_outputs: int) -> FastLoop:
        """An untrained network with so many outputs."""
        with call.seeded("weights"):
            net = self.prototype()
            given = settings_of(net if self.net is None else self.net)
            net.build(self.n_features_in_, n_outputs).check_outputs(self.n_features_in_)
        net.given_ = given
        return net

    def follow_prototype(self) -> None:
        """Let what has changed in `net` since the last call take effect."""
        self.net_.follow(self.prototype() if self.net is None else self.net)

    def n_network_outputs(self) -> int:
        """How many outputs the network needs."""
        if isinstance(self, ContinualClassifier):
            return len(self.classes_)
        return cast(ContinualRegressor, self).n_outputs_

    def new_objective(self, call: Call) -> Objective:
        """The loss of a call: over the active outputs, for a classifier."""
        if not isinstance(self, ContinualClassifier):
            return Regression(self.net_.criterion_)
        key: Hashable = "all"
        outputs = None
        if self.active_outputs == "task" or (self.active_outputs == "auto" and call.task_id is not None):
            if call.task_id is None:
                # Experiences with the same classes share a group: there are no more of them than sets of classes.
                outputs = self.experience_outputs_
                key = ("experience", *outputs.tolist())
            else:
                key, outputs = ("task", call.task_id), self.tasks_[call.task_id]
        self.output_groups_ = {**getattr(self, "output_groups_", {}), key: outputs}
        everything = np.arange(len(self.classes_)) if self.active_outputs == "all" else self.seen_outputs_
        active = np.zeros((len(self.output_groups_), len(self.classes_)), dtype=bool)
        for row, group_outputs in zip(active, self.output_groups_.values(), strict=True):
            row[everything if group_outputs is None else group_outputs] = True
        inactive = None if active.all() else self.on_device(~active)
        criterion = self.criterion_for(np.arange(len(self.classes_)))
        return Classification(criterion, list(self.output_groups_).index(key), inactive)

    def criterion_for(self, outputs: NDArray[np.int64]) -> nn.Module:
        """The net's criterion for the classes of these outputs; what it has for each class is in their order."""
        classifier = cast(ContinualClassifier, self)
        known = classifier.classes_
        labels = classifier.labels_of_outputs()[outputs]
        if self.labels_ is not None:
            known, labels = np.sort(self.labels_), self.labels_[labels]
        return criterion_for_outputs(self.net_.criterion_, known, np.searchsorted(known, labels))

    def device_rows(self, call: Call) -> Rows:
        """The rows of a call on the network's device."""
        y = call.y.astype(np.float32) if isinstance(self, ContinualRegressor) else call.y
        return Rows(x=self.on_device(call.X), y=self.on_device(y))

    # --- what methods ask ----------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The optimiser's rate as it is now, see :func:`learning_rates`."""
        return learning_rates(self.net_.optimizer_, self.net_.trainable())

    def on_device(self, array: NDArray[Any]) -> torch.Tensor:
        """An array as a tensor on the network's device."""
        return tensor_of(array).to(self.net_.device)

    @torch.no_grad()
    def network_outputs(self, x: torch.Tensor, module: nn.Module | None = None) -> torch.Tensor:
        """Outputs of the network (or of another module) in evaluation mode, for rows on the device."""
        module = self.net_.module_ if module is None else module
        note(module, x, back=False)
        n_rows = len(x)
        if n_rows < _LEAST_ROWS and not normalises_each_batch(module):
            x = torch.cat([x, x.new_zeros(_LEAST_ROWS - n_rows, *x.shape[1:])])
        # A network that draws in evaluation, too, draws from the estimator's seed; within a call, from the call's.
        draws = self.net_.draws_in_evaluation_ and not has_own_draws()
        with own_draws(self._entropy_, in_loop=True) if draws else nullcontext(), fixed_statistics(module) as module:
            return torch.cat([module(rows) for rows in torch.split(x, _PREDICT_ROWS)])[:n_rows]

    def network_features(self, x: torch.Tensor, module: nn.Module | None = None) -> torch.Tensor:
        """What enters the head of the network (or of another module) in evaluation mode, for rows on the device."""
        return self.network_outputs(x, Features(self.net_.module_ if module is None else module))

    def gradient_on(self, call: Call, rows: Rows) -> torch.Tensor:
        """Gradient of the loss of some rows, as one vector, which the next time overwrites.

        For use within the loop. Dropout is off and batch statistics stand still.

        Parameters
        ----------
        call : Call
            The running call.
        rows : Rows
            With inputs, targets and groups.

        Returns
        -------
        torch.Tensor of shape (n_weights,)
        """
        if 1 not in call.other_passes:
            gradient = parameters_to_vector(self.net_.trainable()).detach()
            call.other_passes[1] = passes_of(self.net_, gradient, rows.x)
        passes: Passes = call.other_passes[1]
        with fixed_statistics(self.net_.module_):
            passes.descend(call.objective, rows)
        return passes.gradient

    def gradients_on(self, call: Call, parts: StackedRows) -> torch.Tensor:
        """As :meth:`gradient_on`, on several parts of equally many rows; in one pass, if the network is a chain.

        Parameters
        ----------
        call : Call
        parts : StackedRows
            Fields of shape (n_parts, n_rows, ...).

        Returns
        -------
        torch.Tensor of shape (n_parts, n_weights)
            Unlike that of :meth:`gradient_on`, it stays as it is.
        """
        n_parts = len(parts.x)
        if n_parts > 1 and n_parts not in call.other_passes:
            theta = self.net_.flatten().expand(n_parts, -1)  # the same weights for each part, without a copy
            gradient = theta.new_empty(theta.shape)
            call.other_passes[n_parts] = stacked_passes_of(self.net_, theta, gradient, parts.x[0])
        passes = call.other_passes.get(n_parts)
        if n_parts == 1 or not isinstance(passes, ChainPasses):
            return torch.stack([self.gradient_on(call, rows_of(parts, k)).clone() for k in range(n_parts)])
        passes.descend(call.objective.stacked(), parts)
        return passes.gradient.clone()

    # --- what users ask ------------------------------------------------------------------------------------------

    def initialize(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Build the untrained network, so that it can answer before it has learned anything.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of features matters.
        y : array-like
            For a classifier all classes that may be answers; for a regressor targets, of which only the shape matters.

        Returns
        -------
        self
        """
        with self.transaction():
            self.forget()
            if isinstance(self, ContinualRegressor):
                self.check_rows(X, y, first=True)
            else:
                self.checked(X, reset=True)
            call = self.start_call(None)
            self.n_experiences_ = 0
            if isinstance(self, ContinualClassifier):
                self.meet_classes(as_labels(y, "y"))
                self.seen_outputs_ = np.arange(len(self.classes_))
            self.net_ = self.new_network(call, self.n_network_outputs())
        return self

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Logits of checked rows, shape (n_rows, n_outputs)."""
        return as_logits(self.network_outputs(self.on_device(X)), self.net_.criterion_).cpu().numpy()

    def predictions(self, X: NDArray[Any]) -> NDArray[Any]:
        """Outputs for checked rows, shape (n_rows, n_outputs)."""
        return self.network_outputs(self.on_device(X)).cpu().numpy()

    def carried(self) -> Any:
        """The network's weights, buffers included, the state of its optimiser, and what the method keeps."""
        if hasattr(self, "net_"):
            yield "weights", self.net_.module_
            yield "optimizer", self.net_.optimizer_
        yield from super().carried()

    # --- the prototype -------------------------------------------------------------------------------------------

    def prototype(self) -> FastLoop:
        """An unfitted copy of `net` that has the fast loop; None: an MLP with 100 hidden units."""
        kind: type[FastLoop] = ContinualNet
        plain: type[NeuralNet] = NeuralNetClassifier
        if isinstance(self, ContinualRegressor):
            kind, plain = ContinualRegressionNet, NeuralNetRegressor
        if self.net is None:
            return kind(MLP, lr=0.01, max_epochs=20)
        net = copied(self.net)
        if isinstance(net, kind):
            return net
        if type(net) is plain:
            params = {name: value for name, value in net.get_params(deep=False).items() if name != "module"}
            return kind(net.module, **params)
        raise TypeError(
            f"net is a {type(net).__name__}, which {type(self).__name__} cannot train; derive it from "
            f"forgetless.estimators.{kind.__name__}, or use skorch.{plain.__name__}."
        )


class NetworkClassifier(NetworkStrategy, ContinualClassifier):
    """A classifier that goes on training its network, and does nothing else: what methods for classes derive from.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, cloned before use. None: an MLP with 100 hidden units, Adam at 0.01, 20 epochs of batches
        of 32 rows for each call.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of the training loss: of all classes of the network, of those seen so far, or of
        the row's own task. "auto": "task" where calls have task ids, else "seen". Without announced classes
        (``partial_fit(classes=...)``), "all" is "seen".
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.
    """

    def __init__(self, net: NeuralNet | None = None, *, active_outputs: str = "auto", random_state: Any = None) -> None:
        self.net = net
        self.active_outputs = active_outputs
        self.random_state = random_state


class NetworkRegressor(NetworkStrategy, ContinualRegressor):
    """A regressor that goes on training its network, and does nothing else; the loss is the net's criterion.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, cloned before use. None: an MLP with 100 hidden units, Adam at 0.01, 20 epochs of batches
        of 32 rows for each call.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.
    """

    def __init__(self, net: NeuralNet | None = None, *, random_state: Any = None) -> None:
        self.net = net
        self.random_state = random_state
