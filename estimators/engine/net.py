"""ContinualNet and ContinualRegressionNet: skorch nets whose in-memory loop asks a strategy at each step."""

import inspect
import math

import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring, PrintLog
from torch import nn
from torch.utils.data import Dataset

from .graph import recorded
from .modules import batch_norm_layers, fixed_statistics, head_of, is_frozen
from .optimizer import stepper
from .passes import passes_of

_BATCH_EVENTS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class Batches:
    """Rows of tensors in batches: one permutation per epoch, then views; no copy on the host, no synchronisation.

    Parameters
    ----------
    rows : tuple of torch.Tensor
        Tensors with the same number of rows.
    batch_size : int
        Rows per batch; -1 means all.
    generator : torch.Generator or None
        Draws the permutations; None keeps the order.
    min_last : int
        A last batch with fewer rows joins the one before it (batch normalisation cannot learn from one row).
    """

    # Rows gathered at once: bounds the copy that a permutation needs.
    chunk_bytes = 1 << 24

    def __init__(self, rows, batch_size, generator, min_last=1):
        self.rows = rows
        self.n_rows = len(rows[0])
        self.batch_size = self.n_rows if batch_size == -1 else batch_size
        self.generator = generator
        n_batches = max(1, -(-self.n_rows // self.batch_size))
        last = self.n_rows - (n_batches - 1) * self.batch_size
        if n_batches > 1 and last < min_last:
            n_batches -= 1
        self.n_batches = n_batches

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        return self.epoch(self.n_batches)

    def epoch(self, n_batches):
        """Iterate over the first `n_batches` batches in a new order."""
        for rows, sizes in self.chunks(n_batches):
            yield from zip(*(t.split(sizes) for t in rows), strict=True)

    def chunks(self, n_batches):
        """The same, several batches at once: yields rows, and the number of rows of each batch."""
        order = None if self.generator is None else torch.randperm(self.n_rows, generator=self.generator)
        row_bytes = sum(t[:1].numel() * t.element_size() for t in self.rows)
        per_chunk = max(1, self.chunk_bytes // (row_bytes * self.batch_size))
        for first in range(0, n_batches, per_chunk):
            last = min(first + per_chunk, n_batches)
            chunk = slice(first * self.batch_size, self.n_rows if last == self.n_batches else last * self.batch_size)
            if order is None:
                rows = tuple(t[chunk] for t in self.rows)
            else:
                rows = tuple(t.index_select(0, order[chunk].to(t.device)) for t in self.rows)
            sizes = [self.batch_size] * (last - first)
            sizes[-1] = len(rows[0]) - self.batch_size * (len(sizes) - 1)
            yield rows, sizes


class _PrintLog(PrintLog):
    """skorch's table of epochs, made only where it is shown."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


class PlainLearning:
    """The hooks of a net that learns alone: the net's own loss, nothing against forgetting."""

    def __init__(self, net):
        self.net = net

    _fixes_statistics = False
    _pure_steps = False

    def _new_epoch(self, epoch, n_batches):
        """Nothing."""

    def _learn_batch(self, theta, batch, descend):
        """One step of the optimiser."""
        return descend(batch)

    def _mix(self, batch):
        """The batch."""
        return batch

    def _loss(self, forward, batch):
        """Loss of the batch under the net's criterion."""
        x, y = batch
        return self.net.get_loss(forward(x), y, X=x, training=True)

    def _observe(self, batch, *outputs):
        """Nothing."""

    def _change_gradient(self, theta, gradient):
        """Nothing."""

    def _after_step(self, theta):
        """Nothing."""


class FastLoop(NeuralNet):
    """What makes a skorch net the net of a strategy: a fast loop over data in memory, and a head that grows.

    Everything that skorch offers goes on working (callbacks, ``device``, ``optimizer__*``, ``module__*``,
    ``set_params``); what differs are the defaults and the loop: tensors instead of a ``DataLoader``, fused optimisers,
    no synchronisation per batch, and no batch callbacks unless a callback has them. A ``torch.utils.data.Dataset``
    given as `X` takes skorch's own loop.
    """

    device: str

    def __init__(
        self,
        module,
        *args,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=10,
        max_steps=None,
        batch_size=32,
        train_split=None,
        verbose=0,
        device="cpu",
        reset_optimizer=False,
        **kwargs,
    ):
        super().__init__(
            module,
            *args,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=train_split,
            verbose=verbose,
            device=device,
            **kwargs,
        )
        self.max_steps = max_steps
        self.reset_optimizer = reset_optimizer

    @property
    def _default_callbacks(self):
        # The fast loop records losses itself, once an epoch; PassthroughScoring serves skorch's own loop.
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
            ("print_log", _PrintLog()),
        ]

    # --- building -----------------------------------------------------------------------------------------------

    def initialize(self):
        """Build module, criterion, optimiser and callbacks; ``device="auto"`` is resolved here."""
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        return super().initialize()

    def build(self, n_inputs, n_outputs):
        """Initialise the net for data of this shape and return it.

        Parameters
        ----------
        n_inputs, n_outputs : int
            Given to the module where its signature has parameters of these names that are not yet set.

        Raises
        ------
        ValueError
            If the module is an instance and parameters for making one are given, too.
        """
        if isinstance(self.module, nn.Module) and (params := self.get_params_for("module")):
            raise ValueError(
                f"The module is an instance of {type(self.module).__name__}, and module__{min(params)} would make "
                "another one, without its weights; give the class with parameters, or the instance without."
            )
        if inspect.isclass(self.module):
            signature = inspect.signature(self.module).parameters
            for name, value in (("n_inputs", n_inputs), ("n_outputs", n_outputs)):
                if name in signature and not hasattr(self, f"module__{name}"):
                    setattr(self, f"module__{name}", value)
        self.initialize()
        head = head_of(self.module_)
        if not all(p.requires_grad for p in head.parameters()):
            head.requires_grad_(True)
            self._initialize_optimizer()
        self.resize_head(n_outputs)
        return self

    def freeze_features(self):
        """From now on, train the head only."""
        head = set(head_of(self.module_).parameters())
        for p in set(self.module_.parameters()) - head:
            p.requires_grad_(False)
            p.data = p.data.clone()  # no longer a view of the vector of trained parameters
            self.optimizer_.state.pop(p, None)
        self._drop_frozen()

    def _drop_frozen(self):
        """Leave parameters that are not trained out of the optimiser."""
        for group in self.optimizer_.param_groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]

    def initialize_optimizer(self, triggered_directly=None):
        """Build the optimiser, fused where torch has it and the user has not chosen otherwise."""
        has_fused = "fused" in inspect.signature(self.optimizer).parameters
        chosen = hasattr(self, "optimizer__fused") or hasattr(self, "optimizer__foreach")
        super().initialize_optimizer(triggered_directly)
        if has_fused and not chosen:
            for group in self.optimizer_.param_groups:
                group["fused"] = True
            self.optimizer_.defaults["fused"] = True
        self._drop_frozen()
        return self

    def start_experience(self):
        """Forget the history and bring schedulers back to their first rate; reset the optimiser if that was asked."""
        self.history_.clear()
        self._initialize_callbacks()
        if self.reset_optimizer:
            self._initialize_optimizer()
        for group in self.optimizer_.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])

    def shapes(self):
        """Shapes of the trained parameters, in the order of :meth:`flatten`."""
        return [p.shape for p in self.trainable()]

    def fit_vector(self, vector, shapes):
        """Bring a vector over parameters of older `shapes` to today's: what is new in a grown head gets zeros."""
        parts = []
        for part, old, new in zip(vector.split([s.numel() for s in shapes]), shapes, self.shapes(), strict=True):
            if old != new:
                part = torch.cat([part, part.new_zeros(new.numel() - old.numel())])
            parts.append(part)
        return torch.cat(parts)

    def resize_head(self, n_outputs):
        """Give the head `n_outputs` outputs: rows are kept, with their optimiser state; new rows are drawn afresh.

        Parameters
        ----------
        n_outputs : int
        """
        head = head_of(self.module_)
        n_old = head.out_features
        if n_outputs == n_old:
            return
        fresh = nn.Linear(head.in_features, max(n_outputs - n_old, 1), bias=head.bias is not None).to(head.weight)
        for name in ("weight", "bias"):
            old = getattr(head, name)
            if old is None:
                continue
            rows = old.detach()[:n_outputs]
            if n_outputs > n_old:
                rows = torch.cat([rows, getattr(fresh, name).detach()])
            new = nn.Parameter(rows.clone(), requires_grad=old.requires_grad)
            setattr(head, name, new)
            self._swap_in_optimizer(old, new)
        head.out_features = n_outputs
        if hasattr(self, "module__n_outputs"):
            self.module__n_outputs = n_outputs

    def _swap_in_optimizer(self, old, new):
        for group in self.optimizer_.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        state = self.optimizer_.state.pop(old, {})
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == old.shape:
                grown = torch.zeros_like(new)
                n_kept = min(len(old), len(new))
                grown[:n_kept] = value[:n_kept]
                state[key] = grown
        if state:
            self.optimizer_.state[new] = state

    # --- parameters as one vector -------------------------------------------------------------------------------

    def trainable(self):
        """Parameters that are trained, as a list in a fixed order."""
        return [p for _, p in self.get_all_learnable_params() if p.requires_grad]

    def flatten(self):
        """Make all trained parameters views of one vector and return that vector.

        Whoever writes to the vector writes to the network.

        Returns
        -------
        torch.Tensor of shape (n_parameters,)
        """
        return self.adopt(torch.cat([p.detach().reshape(-1) for p in self.trainable()]))

    def adopt(self, theta):
        """Make all trained parameters views of the vector `theta`, whose values they take; returns the vector."""
        for p, view in zip(self.trainable(), self.unflatten(theta), strict=True):
            p.data = view
        return theta

    def unflatten(self, vector):
        """Views of a vector in the shapes of the trained parameters, as a list."""
        params = self.trainable()
        return [v.view_as(p) for v, p in zip(vector.split([p.numel() for p in params]), params, strict=True)]

    # --- undoing ------------------------------------------------------------------------------------------------

    def snapshot(self):
        """Note the state of module, optimiser and history.

        Returns
        -------
        callable
            Called without arguments, it brings that state back.
        """
        attributes = vars(self).copy()
        layers = [
            (layer, {**vars(layer), "_parameters": layer._parameters.copy(), "_buffers": layer._buffers.copy()})
            for layer in self.module_.modules()
        ]
        tensors = [(t, t.detach().clone()) for t in (*self.module_.parameters(), *self.module_.buffers())]
        trained = [(p, p.requires_grad) for p in self.module_.parameters()]
        groups = [group.copy() for group in self.optimizer_.param_groups]
        state = {
            p: {key: value.clone() if torch.is_tensor(value) else value for key, value in entry.items()}
            for p, entry in self.optimizer_.state.items()
        }
        history = list(self.history_)

        def restore():
            self.__dict__.clear()
            self.__dict__.update(attributes)
            for layer, contents in layers:
                layer.__dict__.clear()
                layer.__dict__.update(contents)
            for tensor, value in tensors:
                tensor.data = value
            for p, is_trained in trained:
                p.requires_grad_(is_trained)
            self.optimizer_.param_groups[:] = groups
            self.optimizer_.state.clear()
            self.optimizer_.state.update(state)
            self.history_[:] = history

        return restore

    def __getstate__(self):
        # Views of one vector would each be pickled with the whole vector.
        if self.__dict__.get("initialized_"):
            for p in self.trainable():
                p.data = p.data.clone()
                state = self.optimizer_.state[p]
                state.update({key: t.clone() for key, t in state.items() if torch.is_tensor(t)})
        elif isinstance(self.module, nn.Module):  # brought along, perhaps from another net
            for p in self.module.parameters():
                p.data = p.data.clone()
        return super().__getstate__()

    # --- learning -----------------------------------------------------------------------------------------------

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train on `X`, `y`, as skorch does; arrays and tensors take the fast loop."""
        if isinstance(X, Dataset | dict | list | tuple) or set(fit_params) - {"_routing_method"}:
            return super().fit_loop(X, y, epochs, **fit_params)
        self.check_data(X, y)
        self.check_training_readiness()
        rows = (torch.as_tensor(X).to(self.device), torch.as_tensor(y).to(self.device))
        generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        self.learn(rows, PlainLearning(self), generator, epochs=epochs)
        return self

    def learn(self, rows, strategy, generator, epochs=None):
        """Train for some epochs on rows in memory, asking `strategy` for the loss and the gradient of each step.

        Parameters
        ----------
        rows : tuple of torch.Tensor
            Inputs, targets and whatever else the strategy's loss needs of each row, on the net's device.
        strategy : object with the methods of :class:`PlainLearning`
            The hooks; see :class:`forgetless.estimators.network.NetworkStrategy`.
        generator : torch.Generator
            Draws the order of the rows.
        epochs : int, default=None
            None: ``max_epochs``.

        Raises
        ------
        FloatingPointError
            If the loss or a weight is no longer a finite number.
        RuntimeError
            If a callback freezes or unfreezes parameters.
        """
        data, held_out = self.get_split_datasets(rows[0], rows[1])
        train = valid = None
        if held_out is not None:
            train, valid = ([t[torch.as_tensor(part.indices)] for t in rows] for part in (data, held_out))
        norms = batch_norm_layers(self.module_)
        batches = Batches(tuple(train or rows), self.batch_size, generator, min_last=2 if norms else 1)
        step = _Step(self, strategy, rows[0], announce=self._has_batch_listeners())
        self.module_.train()
        for layer in norms:  # one row has no variance: use the statistics so far
            if batches.n_rows == 1 or strategy._fixes_statistics or is_frozen(layer):
                layer.eval()
        for epoch, n_batches in enumerate(self._epochs(len(batches), epochs)):
            strategy._new_epoch(epoch, n_batches)
            self.notify("on_epoch_begin", dataset_train=data, dataset_valid=held_out)
            step.check_parameters()
            self.history.record("train_loss", self._run_batches(batches.epoch(n_batches), step))
            self.history.record("train_batch_count", n_batches)
            if valid is not None:
                self.history.record("valid_loss", self._validate(valid, strategy))
            try:
                self.notify("on_epoch_end", dataset_train=data, dataset_valid=held_out)
            except KeyboardInterrupt:  # skorch's way of saying "enough" (EarlyStopping)
                break
        step.steps.finish()
        check_finite(float(step.theta.abs().max()), "a weight")

    def _epochs(self, n_batches, epochs):
        """Number of batches in each epoch: all of them, unless `max_steps` ends the last epoch early."""
        if epochs is not None or self.max_steps is None:
            return [n_batches] * (self.max_epochs if epochs is None else epochs)
        whole, rest = divmod(self.max_steps, n_batches)
        return [n_batches] * whole + [rest] * (rest > 0)

    def _run_batches(self, batches, step):
        """One epoch of steps; returns its mean loss per row, the only number read back from the device."""
        total, n_rows = torch.zeros((), device=step.theta.device), 0
        for batch in batches:
            if step.announce:
                self.notify("on_batch_begin", batch=batch[:2], training=True)
            loss = step(batch)
            total.add_(loss, alpha=len(batch[0]))
            n_rows += len(batch[0])
            if step.announce:
                self.history.record_batch("train_loss", loss.item())
                self.history.record_batch("train_batch_size", len(batch[0]))
                self.notify("on_batch_end", batch=batch[:2], training=True, loss=loss, y_pred=None)
        mean = float(total) / n_rows
        check_finite(mean, "the loss")
        return mean

    def _validate(self, rows, strategy):
        with fixed_statistics(self.module_) as module, torch.no_grad():
            return strategy._validation_loss(module, rows).item()

    def _has_batch_listeners(self):
        """Whether a callback overrides a batch event; usually none does, and then no batch is announced."""
        return any(
            getattr(type(callback), event) is not getattr(Callback, event)
            for _, callback in self.callbacks_
            for event in _BATCH_EVENTS
        )


class ContinualNet(FastLoop, NeuralNetClassifier):
    """A skorch classifier net with a fast loop over data in memory, and a head that grows.

    It is what a classifier's strategy clones and trains. Everything that skorch offers goes on working (callbacks,
    ``device``, ``optimizer__*``, ``module__*``, ``set_params``); what differs are the defaults and the loop: tensors
    instead of a ``DataLoader``, fused optimisers, no synchronisation per batch, and no batch callbacks unless a
    callback has them. A ``torch.utils.data.Dataset`` given as `X` takes skorch's own loop.

    Parameters
    ----------
    module : torch.nn.Module class or instance
        The network; outputs are logits. ``n_inputs`` and ``n_outputs`` are filled in where its signature has them. An
        instance brings its weights along, see below.
    criterion : torch criterion class, default=torch.nn.CrossEntropyLoss
        The loss. With ``torch.nn.NLLLoss`` outputs are taken to be probabilities, as everywhere in skorch.
    optimizer : torch optimizer class, default=torch.optim.Adam
    lr : float, default=0.001
    max_epochs : int, default=10
        Passes over the data of each call.
    max_steps : int, default=None
        If given, each call makes this many steps, whatever its number of rows, instead of ``max_epochs`` passes.
    batch_size : int, default=32
    train_split : None or callable, default=None
        With a split (``skorch.dataset.ValidSplit``), part of the data of each call is held out for early stopping.
    verbose : int, default=0
    device : str, default="cpu"
        ``"auto"`` is CUDA where there is a device, else the CPU.
    reset_optimizer : bool, default=False
        Whether a strategy starts each experience with a fresh optimiser instead of the state of the last one.
    **kwargs
        As for ``skorch.NeuralNetClassifier``.

    Notes
    -----
    **Any module** whose last layer is linear will do. Its *head* is the attribute ``head``, if that is linear, else the
    linear layer that was defined last; what enters the head are the *features*. The head gets an output for each class:
    it is resized where the module was made with another number of outputs, its first rows are kept, and it grows later.

    **A pretrained module** is given as an instance: ``ContinualNet(my_module)``. Every strategy trains a copy, which
    starts from the instance's weights; the instance is not changed. Parameters with ``requires_grad=False`` stay as
    they are, and so do the statistics of batch normalisation whose own parameters are such; only the head is always
    trained. Where the outputs so far mean other classes, put a fresh ``torch.nn.Linear`` in the head's place.
    :class:`FrozenClassifier` freezes all but the head by itself.

    Examples
    --------
    >>> from forgetless.estimators import ContinualNet, MLP, NaiveClassifier
    >>> net = ContinualNet(MLP, module__hidden_units=(400, 400), lr=1e-3, max_epochs=4, batch_size=128)
    >>> NaiveClassifier(net=net).fit([[0.0], [1.0]], ["no", "yes"]).classes_
    array(['no', 'yes'], dtype='<U3')
    """

    def __init__(self, module, *args, criterion=nn.CrossEntropyLoss, **kwargs):
        super().__init__(module, *args, criterion=criterion, **kwargs)


class ContinualRegressionNet(FastLoop, NeuralNetRegressor):
    """A skorch regressor net with the fast loop of :class:`ContinualNet`; what a regressor's strategy trains.

    Parameters
    ----------
    module : torch.nn.Module class or instance
        The network; outputs are predictions.
    criterion : torch criterion class, default=torch.nn.MSELoss
        The loss of outputs and targets, both of shape (n_rows, n_outputs).
    **kwargs
        As for :class:`ContinualNet`.

    Examples
    --------
    >>> from forgetless.estimators import MLP, ContinualRegressionNet, NaiveRegressor
    >>> net = ContinualRegressionNet(MLP, module__hidden_units=(400, 400), max_epochs=4, batch_size=128)
    >>> NaiveRegressor(net=net).fit([[0.0], [1.0]], [0.5, 1.5]).predict([[0.0]]).shape
    (1,)
    """

    def __init__(self, module, *args, criterion=nn.MSELoss, **kwargs):
        super().__init__(module, *args, criterion=criterion, **kwargs)


def check_finite(value, what):
    """Raise FloatingPointError if `value`, a number that stands for `what`, is not finite."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"Training diverged: {what} is no longer a finite number. The estimator is as it was before this call; "
            "lower the learning rate (net__lr) or the strength of the penalty, or scale the inputs."
        )


class _Step:
    """One step of learning: loss, gradient, the strategy's change of the gradient, optimiser, what follows a step."""

    def __init__(self, net, strategy, x, announce):
        self.net, self.strategy, self.announce = net, strategy, announce
        self.theta = net.flatten()
        self.params = net.trainable()
        self.gradient = torch.empty_like(self.theta)
        self.passes = passes_of(net, self.gradient, x)
        self.steps = stepper([net.optimizer_], [self.params], self.theta)
        is_pure = strategy._pure_steps and not announce
        self.move = recorded(self._move, self.theta, self.steps) if is_pure else self._move

    def check_parameters(self):
        """Raise if a callback has changed which parameters are trained: what a strategy remembers is about these."""
        if list(map(id, self.net.trainable())) != list(map(id, self.params)):
            raise RuntimeError(
                "A callback has frozen, unfrozen or replaced parameters (skorch's Freezer, perhaps), which a strategy "
                "against forgetting cannot follow; give the net a module whose parameters have requires_grad=False."
            )

    def __call__(self, batch):
        return self.strategy._learn_batch(self.theta, batch, self.descend).detach()

    def descend(self, batch):
        """One step of the optimiser down the loss of a batch; returns the loss."""
        loss, *outputs = self.move(*self.strategy._mix(batch))
        self.strategy._observe(batch, *outputs)
        return loss

    def _move(self, *batch):
        """One step on a mixed batch; returns the loss, and the outputs of the first forward pass if there was one."""
        first: list[torch.Tensor] = []

        def evaluate():
            loss = self.strategy._loss(self.passes, batch)
            first.extend(self.passes.outputs[:1])
            self.passes.backward(loss)
            self.strategy._change_gradient(self.theta, self.gradient)
            if self.announce:
                self._announce_gradient(batch)
            return loss

        loss = self.steps.step(evaluate, self.gradient)
        self.strategy._after_step(self.theta)
        return loss.detach(), *(outputs.detach() for outputs in first[:1])

    def _announce_gradient(self, batch):
        for p, view in zip(self.params, self.net.unflatten(self.gradient), strict=True):
            p.grad = view
        named = self.net.get_all_learnable_params()
        self.net.notify("on_grad_computed", named_parameters=named, batch=batch[:2], training=True)
