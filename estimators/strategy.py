"""Strategies around a network: the hooks in which methods differ, and everything they have in common."""

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import validate_data
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.nn.utils import parameters_to_vector

from ._compat import one_of
from .base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from .modules import MLP, fixed_statistics, tensor_bytes
from .net import ContinualNet, ContinualRegressionNet
from .passes import passes_of

# Rows per forward pass when nothing is learned; bounds memory, and is large enough that the loop costs nothing.
_PREDICT_ROWS = 16384
# BLAS has other kernels for a handful of rows; filled up, a row gets the same bits alone and in company.
_LEAST_ROWS = 32


class NetworkStrategy(ContinualEstimator):
    """The hooks of a method that trains a network; a method overrides a few of them.

    In the order of a call: :meth:`_new_experience`, :meth:`_begin`, then for each batch :meth:`_mix`, :meth:`_loss`,
    :meth:`_change_gradient`, :meth:`_after_step`, :meth:`_observe`, and at the end of the call :meth:`_end`. Methods
    that count or anneal have :meth:`_new_epoch`, and methods that make other steps than one of the optimiser have
    :meth:`_learn_batch`.

    Draws during a call come from ``self._generator_``.

    ``theta`` is the vector of all trained parameters, and writing to it moves the network; ``gradient`` is the vector
    of their gradients. A batch is a tuple ``(x, y, *extras)``: what :meth:`_begin` returned for each row.
    """

    _constraints = {"net": [None, NeuralNet], "random_state": ["random_state"]}
    # Names of attributes that are vectors over the parameters; they grow with the head, by zeros.
    _vectors: tuple[str, ...] = ()
    # Whether seeds can be stacked (stacked.py) and steps recorded (graph.py): `_loss` is a pure function of `forward`
    # and the batch, `_change_gradient` and `_after_step` are elementwise and change vectors in place. And what else
    # `_loss` reads: it stays as it is during a call, and must be equal where seeds are stacked.
    _pure_steps = False
    _loss_state: tuple[str, ...] = ("_inactive_", "_group_")
    # During a loop, how rows other than the batch are passed for a gradient of their own.
    _passes_aside_ = None
    # The net that has the fast loop, and skorch's own of the same kind, which is turned into it.
    _net_class: type[NeuralNet]
    _skorch_class: type[NeuralNet]

    # --- hooks ---------------------------------------------------------------------------------------------------

    def _new_experience(self):
        """An experience opens: consolidate the one before, whose result the network still is."""

    def _begin(self, X, y):
        """A call starts to train on `X`, `y`; returns a tuple of further tensors with one row per row of `X`."""
        return ()

    def _new_epoch(self, epoch, n_batches):
        """An epoch of `n_batches` batches starts; the first of a call has number 0."""

    def _learn_batch(self, theta, batch, descend):
        """Learn from a batch of new rows: by ``descend(batch)``, one step of the optimiser, which returns the loss."""
        return descend(batch)

    def _mix(self, batch):
        """The batch that is learned in place of `batch` (replay adds memory)."""
        return batch

    def _loss(self, forward, batch):
        """Loss of the batch; `forward` maps inputs to outputs, ``forward.features_and_outputs`` to both."""
        x, y = batch[:2]
        return self._task_loss(forward(x), y)

    def _change_gradient(self, theta, gradient):
        """Change the gradient in place: add a penalty's gradient, project, mask."""

    def _after_step(self, theta):
        """The optimiser has moved `theta`."""

    def _observe(self, batch, outputs):
        """A batch of new rows is learned; `outputs` are those of its first forward pass, new rows first."""

    def _end(self, X, y):
        """A call has trained on `X`, `y`."""

    # --- what else the loop asks ----------------------------------------------------------------------------------

    @property
    def _fixes_statistics(self):
        """Whether batch normalisation uses the statistics so far, in training too, and leaves them as they are."""
        return False

    def _validation_loss(self, module, rows):
        """Plain loss of held-out rows."""
        return self._task_loss(module(rows[0]), rows[1])

    # --- the network ---------------------------------------------------------------------------------------------

    def _prototype(self):
        """An unfitted copy of `net` that has the fast loop."""
        if self.net is None:
            return self._default_net()
        net = clone(self.net)
        if isinstance(net, self._net_class):
            return net
        if type(net) is self._skorch_class:
            params = {name: value for name, value in net.get_params(deep=False).items() if name != "module"}
            return self._net_class(net.module, **params)
        raise TypeError(
            f"net is a {type(net).__name__}, which {type(self).__name__} cannot train; derive it from "
            f"forgetless.estimators.{self._net_class.__name__}, or use skorch.{self._skorch_class.__name__}."
        )

    def _default_net(self):
        return self._net_class(MLP, lr=0.01, max_epochs=20)

    @contextmanager
    def _seeded(self, purpose):
        """Torch's generators drawn from this call's seed inside, and as before outside."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices=devices):
            seed = int(self._rng(purpose).integers(2**31))
            # Not torch.manual_seed: it notes the seed for devices that may never come, and takes a millisecond.
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
            yield

    def _new_net(self, n_outputs):
        with self._seeded("weights"):
            return self._prototype().build(self.n_features_in_, n_outputs)

    def _ready_net(self):
        """Build the network at the first call; later, give it outputs for new classes."""
        n_outputs = self._n_outputs()
        if not hasattr(self, "net_"):
            self.net_ = self._new_net(n_outputs)
            return
        if self._opens_experience_ and self.n_experiences_ > 1:
            self._new_experience()
            self.net_.start_experience()
        shapes = self.net_.shapes()
        with self._seeded("weights"):
            self.net_.resize_head(n_outputs)
        if shapes != self.net_.shapes():
            for name in self._vectors:
                if getattr(self, name, None) is not None:
                    setattr(self, name, self.net_.fit_vector(getattr(self, name), shapes))

    def _learn(self, X, y):
        self._train(*self._ready(X, y))

    def _ready(self, X, y):
        """Make the network ready for the rows of a call; returns them on the device."""
        self._ready_net()
        return self._to_device(X), self._to_device(y)

    def _train(self, X, y):
        """Train on rows on the device, from :meth:`_begin` to :meth:`_end`."""
        self._run_loop(self._open(X, y))
        self._close(X, y)

    def _criterion(self, outputs, y):
        return self.net_.criterion_(outputs, y)

    def _run_loop(self, rows):
        """Train the network on rows."""
        with self._seeded("training"):
            self.net_.learn(rows, self, self._torch_generator("order"))

    def _open(self, X, y):
        """What comes before the loop; returns the rows that it trains on."""
        self._generator_, self._passes_aside_ = self._torch_generator("strategy"), None
        with self._seeded("begin"):
            rows = (X, y, *self._begin(X, y))
            self.net_.notify("on_train_begin", X=X, y=y)
        return rows

    def _close(self, X, y):
        """What comes after the loop."""
        with self._seeded("end"):
            self.net_.notify("on_train_end", X=X, y=y)
            self._end(X, y)
        del self._generator_, self._passes_aside_

    def _torch_generator(self, purpose):
        return torch.Generator().manual_seed(int(self._rng(purpose).integers(2**31)))

    def _to_device(self, array):
        return torch.as_tensor(array).to(self.net_.device)

    @torch.no_grad()
    def _outputs(self, X, module=None):
        """Outputs of the network (or of another module) in evaluation mode, for rows on the device."""
        n_rows = len(X)
        if n_rows < _LEAST_ROWS:
            X = torch.cat([X, X.new_zeros(_LEAST_ROWS - n_rows, *X.shape[1:])])
        with fixed_statistics(self.net_.module_ if module is None else module) as module:
            return torch.cat([module(x) for x in X.split(_PREDICT_ROWS)])[:n_rows]

    def _gradient_on(self, x, y, groups=None):
        """Gradient of the loss of some rows, as one vector, which the next call overwrites.

        For use within the loop. Dropout is off and batch statistics stand still.
        """
        if self._passes_aside_ is None:
            self._passes_aside_ = passes_of(self.net_, parameters_to_vector(self.net_.trainable()).detach(), x)
        with fixed_statistics(self.net_.module_):
            self._passes_aside_.backward(self._task_loss(self._passes_aside_(x), y, groups))
        return self._passes_aside_.gradient

    def _memory(self):
        return network_bytes(self.net_)


def network_bytes(net):
    """Bytes of a net's weights (buffers included) and of its optimiser's state."""
    weights = [*net.module_.parameters(), *net.module_.buffers()]
    state = [t for entry in net.optimizer_.state.values() for t in entry.values() if torch.is_tensor(t)]
    return {"weights": tensor_bytes(*weights), "optimizer": tensor_bytes(*state)}


class NetworkClassifier(NetworkStrategy, ContinualClassifier):
    """A classifier around a network.

    `active_outputs` decides which outputs enter the softmax of the training loss: ``"all"`` outputs of the network,
    those of the classes ``"seen"`` so far, or those of the row's own ``"task"``; ``"auto"`` is "task" where calls have
    task ids and "seen" where they have not. Without announced classes (``partial_fit(classes=...)``), "all" is "seen".
    """

    _constraints = {"active_outputs": [one_of("auto", "all", "seen", "task")]}
    _net_class = ContinualNet
    _skorch_class = NeuralNetClassifier
    active_outputs: str
    # Outputs that are not active, for each group of rows; None: all are active in all groups.
    _inactive_: torch.Tensor | None

    def initialize(self, X, classes):
        """Build the untrained network, so that it can answer before it has learned anything.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of features matters.
        classes : array-like
            All classes that may be answers.

        Returns
        -------
        self
        """
        with self._all_or_nothing():
            self._forget_everything()
            validate_data(self, X, dtype=self._dtype, reset=True)
            self._start_call(None)
            self.n_experiences_ = 0
            self._meet_classes(np.asarray(classes))
            self._seen_columns_ = np.arange(len(self.classes_))
            self._ready_net()
        return self

    def _n_outputs(self):
        return len(self.classes_)

    def _ready(self, X, y):
        self._note_group()
        rows = super()._ready(X, y)
        if self._inactive_ is not None:
            self._inactive_ = self._inactive_.to(self.net_.device)
        return rows

    # --- which outputs are active --------------------------------------------------------------------------------

    def _note_group(self):
        """Find the group of outputs that are active for the rows of this call.

        Groups are numbered, and rows in a memory carry the number: with one group for all rows, or one for each task.
        """
        if self.active_outputs == "task" or (self.active_outputs == "auto" and self._running_task_ is not None):
            key: tuple
            if self._running_task_ is None:
                key, columns = ("experience", self.n_experiences_), self._experience_columns_
            else:
                key, columns = ("task", self._running_task_), self.tasks_[self._running_task_]
        else:
            key, columns = ("all",), None
        self._groups_ = {**getattr(self, "_groups_", {}), key: columns}
        self._group_ = list(self._groups_).index(key)
        everything = np.arange(len(self.classes_)) if self.active_outputs == "all" else self._seen_columns_
        active = np.zeros((len(self._groups_), len(self.classes_)), dtype=bool)
        for row, group_columns in zip(active, self._groups_.values(), strict=True):
            row[everything if group_columns is None else group_columns] = True
        self._inactive_ = None if active.all() else torch.from_numpy(~active)

    def _row_groups(self, y):
        """The group of this call, for each row."""
        return torch.full_like(y, self._group_)

    def _active_logits(self, outputs, groups=None):
        """Logits with minus infinity where an output is not active; `groups` None: all rows are of this call."""
        logits = self._logits(outputs)
        if self._inactive_ is None:
            return logits
        inactive = self._inactive_.to(logits.device, non_blocking=True)
        return logits.masked_fill(inactive[self._group_ if groups is None else groups], -torch.inf)

    def _task_loss(self, outputs, y, groups=None):
        """The net's criterion over the active outputs."""
        return self._loss_of_logits(self._active_logits(outputs, groups), y)

    def _loss_of_logits(self, logits, y):
        """The net's criterion, over the outputs whose logits are finite."""
        return self._criterion(logits.log_softmax(-1) if isinstance(self.net_.criterion_, nn.NLLLoss) else logits, y)

    def _fisher_terms(self, outputs, y, exact):
        """Functions whose squared gradients sum to the Fisher information of a row.

        Those are log p(y), or, for the exact expectation over labels k, √p(k) · log p(k) with the root held constant.
        """
        log_p = self._active_logits(outputs).log_softmax(1)
        if not exact:
            return [log_p.gather(1, y[:, None]).squeeze(1)]
        active = list(range(log_p.shape[1]))
        if self._inactive_ is not None:
            active = torch.nonzero(~self._inactive_[self._group_]).flatten().tolist()
        return [(log_p[:, k].detach() / 2).exp() * log_p[:, k] for k in active]

    def _draw_targets(self, outputs, generator):
        """Labels drawn from the model's probabilities."""
        p = self._active_logits(outputs).softmax(1)
        return torch.multinomial(p.cpu(), 1, generator=generator).squeeze(1).to(outputs.device)

    def _logits(self, outputs):
        """Outputs as logits: where the criterion is NLLLoss, skorch's modules return probabilities."""
        if isinstance(self.net_.criterion_, nn.NLLLoss):
            return (outputs + torch.finfo(outputs.dtype).eps).log()
        return outputs

    def _scores(self, X):
        return self._logits(self._outputs(self._to_device(X))).cpu().numpy()


class NetworkRegressor(NetworkStrategy, ContinualRegressor):
    """A regressor around a network: outputs are predictions, and the loss is the net's criterion (squared error).

    Where a method needs a likelihood, it is that of a Gaussian around the outputs with unit variance.
    """

    _net_class = ContinualRegressionNet
    _skorch_class = NeuralNetRegressor

    def initialize(self, X, y):
        """Build the untrained network, so that it can answer before it has learned anything.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Only the numbers of features and outputs matter.

        Returns
        -------
        self
        """
        with self._all_or_nothing():
            self._forget_everything()
            self._validate(X, y, first=True)
            self._start_call(None)
            self.n_experiences_ = 0
            self._ready_net()
        return self

    def _n_outputs(self):
        return self.n_outputs_

    def _ready(self, X, y):
        return super()._ready(X, y.astype(np.float32))

    def _row_groups(self, y):
        """All rows are of one group: outputs are always active."""
        return torch.zeros(y.shape[:-1], dtype=torch.int64, device=y.device)

    def _task_loss(self, outputs, y, groups=None):
        return self._criterion(outputs, y)

    def _fisher_terms(self, outputs, y, exact):
        """As for classes: log p(y) = −½‖y − f‖², whose squared gradient has the expectation Σₖ (∂fₖ)² over y."""
        return list(outputs.unbind(1)) if exact else [-0.5 * (y - outputs).square().sum(1)]

    def _draw_targets(self, outputs, generator):
        """Targets drawn from the model's Gaussian."""
        return outputs + torch.randn(outputs.shape, generator=generator).to(outputs)

    def _predictions(self, X):
        return self._outputs(self._to_device(X)).cpu().numpy()
