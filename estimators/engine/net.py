"""ContinualNet and ContinualRegressionNet: skorch nets that a strategy trains, and whose head grows."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EpochTimer, Initializer, LoadInitState, PassthroughScoring, PrintLog
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from ..parameters import Integral, at_least, check_parameters, one_of
from .call import Call
from .compiler import without_compiler
from .equality import same
from .loop import PlainLearning, train
from .modules import bytes_of, check_own_weight, copies_of_inputs, head_of, is_finite
from .optimizer import meet_parameters, resized_state
from .randomness import states_of_draws
from .rows import Rows

without_compiler(torch.optim.Optimizer.add_param_group)


class _PrintLog(PrintLog):
    """skorch's table of epochs, made only where it is shown."""

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


# What a net of ours has beside skorch's parameters; a plain skorch net is taken as one with these.
_BESIDE_SKORCH = {"max_steps": None, "reset_optimizer": False}
_ABSENT = object()


def settings_of(net: NeuralNet) -> dict[str, Any]:
    """Parameters of a net by name, nested ones apart."""
    given = {name: value for name, value in net.get_params(deep=False).items() if not name.startswith("_")}
    return _BESIDE_SKORCH | given


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of settings that have another value now, that are new, or that are gone."""
    return [name for name in before | now if not same(now.get(name, _ABSENT), before.get(name, _ABSENT))]


def copied(net: Any) -> Any:
    """Return a copy of an unfitted net, or of settings of one.

    Raises
    ------
    TypeError
        If something of it cannot be copied.
    """
    try:
        return clone(net, safe=False)
    except TypeError as error:
        raise TypeError(
            f"net cannot be copied: {error}. Perhaps a callback holds an open file or a connection; make it in the "
            "callback's initialize(), which is called after the copy."
        ) from error
    except RuntimeError as error:
        raise TypeError(
            f"net cannot be copied: {error}. If its module has torch.nn.utils.weight_norm, use "
            "torch.nn.utils.parametrizations.weight_norm, whose layers can be copied."
        ) from error


class LossScoring(PassthroughScoring):
    """The loss of an epoch, and whether it is the best of the call; the fast loop has recorded the first."""

    best_score_: float

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Each call has rows of its own: the losses of another one are no measure."""
        self.initialize()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note the loss, if batches have losses, and whether it is the best."""
        epoch = net.history[-1]
        if any(self.name in batch for batch in epoch["batches"]):
            super().on_epoch_end(net, **kwargs)
        elif self.name in epoch:
            loss = epoch[self.name]
            epoch[f"{self.name}_best"] = bool(loss < self.best_score_)
            self.best_score_ = min(loss, self.best_score_)


# Callbacks that would undo what was learned, and what to do instead.
_REFUSED = {
    Initializer: "would initialise the weights anew in each experience; initialise them where the module is made",
    LoadInitState: (
        "would load the weights anew in each experience, without what the method remembers of the others; pickle the "
        "estimator to go on later, or give the net a module that has the weights"
    ),
}

# What the fast loop has no use for, by default the only thing it may be, and what to do instead.
_ROWS = "the net's batch_size counts, batches are drawn in random order, and rows can be prepared before partial_fit"
_ONLY_DEFAULT = {
    "iterator_train": (DataLoader, _ROWS),
    "iterator_valid": (DataLoader, _ROWS),
    "dataset": (SkorchDataset, _ROWS),
    "predict_nonlinearity": ("auto", "let the module return logits, or probabilities with torch.nn.NLLLoss"),
    "classes": (None, "announce classes in the first call, partial_fit(X, y, classes=...)"),
}
# Options of loaders that change nothing of what is learned, or say what is the case.
_OF_LOADING = ["num_workers", "pin_memory", "pin_memory_device", "timeout", "prefetch_factor", "persistent_workers"]
_AS_IT_IS = {
    "iterator_train__shuffle": True,
    "iterator_train__drop_last": False,
    "iterator_valid__shuffle": False,
    "iterator_valid__drop_last": False,
}

# Methods of skorch's nets that the fast loop and predictions do not call, and what to override instead.
_STEPS = "override hooks of a strategy, such as loss or learn_batch"
_FORWARD = "override the module's forward"
_CALLBACK = "write a callback, which hears of each batch"
_NOT_CALLED = {
    "get_loss": "give a criterion of your own",
    "train_step": _STEPS,
    "train_step_single": _STEPS,
    "run_single_epoch": _STEPS,
    "fit_loop": _STEPS,
    "validation_step": "give a criterion of your own",
    "evaluation_step": _FORWARD,
    "infer": _FORWARD,
    "predict": _FORWARD,
    "predict_proba": _FORWARD,
    "get_iterator": _ROWS,
    "get_dataset": _ROWS,
    "on_batch_begin": _CALLBACK,
    "on_batch_end": _CALLBACK,
    "on_grad_computed": _CALLBACK,
}


class FastLoop(NeuralNet):
    """What makes a skorch net the net of a strategy: a fast loop over data in memory, and a head that grows.

    What differs from skorch are the defaults and the loop: tensors instead of a ``DataLoader``, fused optimisers, no
    synchronisation per batch, and no batch callbacks unless a callback has them. A table of skorch's callbacks, splits
    and optimisers, and how each fares here, is in ``docs/skorch.md``. A ``torch.utils.data.Dataset`` given as `X` takes
    skorch's own loop.
    """

    # What a benchmark checks before it runs; skorch itself checks nothing.
    parameter_constraints = {
        "lr": [at_least(0), torch.Tensor],
        "max_epochs": [at_least(0, Integral)],
        "max_steps": [at_least(1, Integral), None],
        "batch_size": [at_least(1, Integral), one_of(-1)],
    }
    device: str
    # While a strategy trains: which outputs are no answers, a mask; None: all are answers.
    inactive_outputs_: torch.Tensor | None = None
    # Whether the module draws random numbers in evaluation mode, too, as for Monte Carlo dropout.
    draws_in_evaluation_: bool = False
    # While a loop runs: the vector of all trained parameters, which it moves.
    _moving: torch.Tensor | None = None

    def __init__(
        self,
        module: Any,
        *args: Any,
        optimizer: Any = torch.optim.Adam,
        lr: float = 0.001,
        max_epochs: int = 10,
        max_steps: int | None = None,
        batch_size: int = 32,
        train_split: Any = None,
        verbose: int = 0,
        device: str = "cpu",
        reset_optimizer: bool = False,
        **kwargs: Any,
    ) -> None:
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
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", LossScoring("train_loss", on_train=True)),
            ("valid_loss", LossScoring("valid_loss")),
            ("print_log", _PrintLog()),
        ]

    # --- building -----------------------------------------------------------------------------------------------

    def initialize(self) -> Self:
        """Build module, criterion, optimiser and callbacks; ``device="auto"`` is resolved here."""
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        super().initialize()
        return self

    def build(self, n_inputs: int, n_outputs: int) -> Self:
        """Initialise the net for data of this shape and return it.

        Parameters
        ----------
        n_inputs, n_outputs : int
            Given to the module where its signature has parameters of these names that are not yet set.

        Raises
        ------
        ValueError
            If a parameter is out of range; if the module is an instance and parameters for making one are given, too;
            or if a strategy cannot work with a callback, the criterion, the optimiser, the precision of the module, or
            what is asked of skorch's own loop.
        TypeError
            If the module is compiled by TorchScript, or has no linear layer that can be its head.
        """
        check_parameters(self)
        if isinstance(self.module, torch.jit.ScriptModule):
            raise TypeError("The module is compiled by TorchScript, and cannot be copied; give the module itself.")
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
        if any(is_lazy(t) for t in (*self.module_.parameters(), *self.module_.buffers())):
            self._outputs_of_one_row(n_inputs)
        self._check_parts()
        self._lower_precision()
        head = head_of(self.module_)
        if not all(p.requires_grad for p in head.parameters()):
            head.requires_grad_(True)
            self._initialize_optimizer()
        self.resize_head(n_outputs)
        self.given_: dict[str, Any] = {}
        self.module_.eval()  # it is in training mode in training only
        return self

    def initialize_criterion(self) -> Self:
        """Build the criterion; weights for a loss of torch may be an array or a list, as NumPy computes them."""
        params = self.get_params_for("criterion")
        kind = self.criterion if inspect.isclass(self.criterion) else type(self.criterion)
        if issubclass(kind, nn.modules.loss._Loss):
            for name in {"weight", "pos_weight"} & params.keys():
                if not (params[name] is None or torch.is_tensor(params[name])):
                    params[name] = torch.as_tensor(np.asarray(params[name]), dtype=torch.float32)
        self.criterion_ = self.initialized_instance(self.criterion, params)
        return self

    def _outputs_of_one_row(self, n_inputs: int) -> Any:
        """What the module returns for a row of zeros; lazy layers have weights from then on.

        If it works in place, on rows that are somebody else's, it is given copies from then on.
        """
        self.module_.eval()
        row = torch.zeros(1, n_inputs, device=self.device)
        with torch.no_grad():
            outputs = self.module_(row)
        if row._version:
            self.module_.register_forward_pre_hook(copies_of_inputs)
        return outputs

    def check_outputs(self, n_inputs: int) -> None:
        """Find out, by a row of zeros, whether the module returns what its head makes and its criterion takes.

        Also, whether it draws random numbers in evaluation mode.

        Parameters
        ----------
        n_inputs : int

        Raises
        ------
        ValueError
            If it does not; a warning where it only seems so.
        """
        before = states_of_draws()
        try:
            outputs = self._outputs_of_one_row(n_inputs)
        except Exception:  # zeros may be no row for it; what is wrong with real ones, it says itself
            return
        self.draws_in_evaluation_ = not all(map(torch.equal, before, states_of_draws()))
        kind, head = type(self.module_).__name__, head_of(self.module_)
        if not torch.is_tensor(outputs):
            raise ValueError(
                f"{kind} returns a {type(outputs).__name__}, where strategies need the outputs alone; return what its "
                "last linear layer makes."
            )
        if outputs.shape != (1, head.out_features):
            name = next(name for name, layer in self.module_.named_modules() if layer is head)
            raise ValueError(
                f"{kind} returns the shape {tuple(outputs.shape)} for one row, but its head {name!r} has "
                f"{head.out_features} outputs, one for each class or target; return what the head makes, and call it "
                "`head` if it is not the last linear layer."
            )
        if not is_finite(outputs):  # of a row of zeros, which may be as none of the real ones
            return
        are_probabilities = bool((outputs >= 0).all()) and abs(float(outputs.sum()) - 1) < 1e-4
        if isinstance(self.criterion_, nn.NLLLoss) and not are_probabilities:
            raise ValueError(
                f"NLLLoss is given probabilities, as always in skorch, but {kind} returns other numbers; end it with "
                "a softmax, or use torch.nn.CrossEntropyLoss."
            )
        if isinstance(self.criterion_, nn.CrossEntropyLoss) and are_probabilities and outputs.shape[1] > 1:
            warnings.warn(
                f"{kind} seems to return probabilities, but CrossEntropyLoss takes what comes before a softmax, and "
                "hardly learns from them; leave the softmax out, or use torch.nn.NLLLoss.",
                stacklevel=2,
            )

    def follow(self, prototype: NeuralNet) -> None:
        """Let settings of the prototype that have changed since the last call take effect.

        Parameters
        ----------
        prototype : NeuralNet
            What the user has, and may have changed.

        Raises
        ------
        ValueError
            If the module or its parameters have changed, or the device: networks and what is kept beside them stay; if
            the net is of another class; or if :meth:`build` would have refused the new settings.
        """
        taken_as: dict[type, type] = {NeuralNetClassifier: ContinualNet, NeuralNetRegressor: ContinualRegressionNet}
        if taken_as.get(type(prototype), type(prototype)) is not type(self):
            raise ValueError(
                f"net was a {type(self).__name__} and is a {type(prototype).__name__} now, but the network is built "
                "and trained already; set it back, or start anew with fit."
            )
        given = settings_of(prototype)
        changed = changed_settings(self.given_, given)
        if not changed:
            return
        self.given_ = given
        kinds = {name.partition("__")[0] for name in changed}
        for name in changed:
            if name.partition("__")[0] in ("module", "device"):
                raise ValueError(
                    f"net__{name} has changed since the last call, but the network is built and trained already; set "
                    "it back, or start anew with fit."
                )
            if name in given:
                setattr(self, name, copied(given[name]))
            else:  # back to the default
                delattr(self, name)
        check_parameters(self)
        if "criterion" in kinds:
            self._initialize_criterion()
            self._lower_precision()
        if "callbacks" in kinds:
            self.callbacks = copied(given["callbacks"])  # without parameters that are gone
            self._initialize_callbacks()
        if "optimizer" in kinds:
            self._initialize_optimizer()
        elif "lr" in kinds:
            for group in self.optimizer_.param_groups:
                group["lr"] = self.lr
                group.pop("initial_lr", None)
        self._check_parts()

    def _check_own_loop(self) -> None:
        """Raise where something is asked of skorch's own loop, which strategies do not take."""
        for name, value in settings_of(self).items():
            part, _, option = name.partition("__")
            if part not in _ONLY_DEFAULT or option in _OF_LOADING or name == "iterator_valid__batch_size":
                continue
            default, instead = _ONLY_DEFAULT[part]
            if not same(value, _AS_IT_IS.get(name, _ABSENT) if option else default):
                raise ValueError(
                    f"net__{name} is {value!r}, of which a strategy's loop over rows in memory knows nothing; leave it "
                    f"out: {instead}."
                )
        ours = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        for name, instead in _NOT_CALLED.items():
            if getattr(type(self), name) is not getattr(ours, name):
                raise ValueError(
                    f"{type(self).__name__} overrides {name}, which a strategy's loop over rows in memory does not "
                    f"call; {instead}."
                )

    def _check_parts(self) -> None:
        """Raise where a strategy cannot work with what was given."""
        self._check_own_loop()
        for name, callback in self.callbacks_:
            for kind, reason in _REFUSED.items():
                if isinstance(callback, kind):
                    raise ValueError(f"The callback {name}, a {type(callback).__name__}, {reason}.")
        for name, p in self.module_.named_parameters():
            if p.requires_grad and p.dtype != torch.float32:
                raise ValueError(
                    f"The module's {name} is of {p.dtype}, but rows and steps are of torch.float32"
                    + {
                        torch.float64: "; give module.float(), or call torch.set_default_dtype(torch.float32) first.",
                        torch.float16: "; give module.float().",
                        torch.bfloat16: "; give module.float().",
                    }.get(p.dtype, ".")
                )
        criterion = self.criterion_
        if isinstance(criterion, nn.Module) and any(p.requires_grad for p in criterion.parameters()):
            raise ValueError(
                f"The criterion, a {type(criterion).__name__}, has weights that are trained, which strategies against "
                "forgetting do not know of; make them part of the module."
            )
        if getattr(criterion, "reduction", None) == "none":
            raise ValueError("criterion__reduction='none' gives no loss to descend; use 'mean'.")
        if isinstance(self.optimizer_, torch.optim.SparseAdam):
            raise ValueError("SparseAdam needs sparse gradients, and these are dense; use torch.optim.Adam.")
        for name, layer in self.module_.named_modules():
            if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.sparse and layer.weight.requires_grad:
                raise ValueError(
                    f"The embedding {name!r} has sparse gradients, and steps here are on one dense vector of all "
                    "weights; leave sparse=True out."
                )

    def _lower_precision(self) -> None:
        if isinstance(self.criterion_, nn.Module):
            self.criterion_.float()  # weights of classes that NumPy has computed

    def open_outputs(self, inactive: torch.Tensor | None) -> None:
        """Note for the callbacks of a call what the classes are, and which outputs are no answers; None: all are."""
        self.inactive_outputs_ = inactive
        self.classes_inferred_ = np.arange(head_of(self.module_).out_features)

    def answers(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the module as predictions see them: those that are no answers have no probability."""
        if self.inactive_outputs_ is None:
            return outputs
        inactive = self.inactive_outputs_.to(outputs.device)
        if isinstance(self.criterion_, nn.NLLLoss):
            outputs = outputs.masked_fill(inactive, 0.0)
            return outputs / outputs.sum(-1, keepdim=True)
        return outputs.masked_fill(inactive, -torch.inf)

    def forward_iter(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Outputs for the batches of `X`, as predictions see them."""
        for outputs in super().forward_iter(*args, **kwargs):
            yield (
                outputs if self.inactive_outputs_ is None else self.answers(outputs.to(self.device)).to(outputs.device)
            )

    def freeze_features(self) -> None:
        """From now on, train the head only."""
        head = set(head_of(self.module_).parameters())
        for p in set(self.module_.parameters()) - head:
            p.requires_grad_(False)
            p.data = p.data.clone()  # no longer a view of the vector of trained parameters
            self.optimizer_.state.pop(p, None)
        self._drop_frozen()

    def _drop_frozen(self) -> None:
        """Leave parameters that are not trained out of the optimiser."""
        for group in self.optimizer_.param_groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        meet_parameters(self.optimizer_)

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Self:
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

    def start_call(self) -> None:
        """Forget the history, which is that of the last call: else it would grow for ever."""
        self.history_.clear()

    def start_experience(self) -> None:
        """Bring schedulers back to their first rate; reset the optimiser if that was asked."""
        self._initialize_callbacks()
        if self.reset_optimizer:
            self._initialize_optimizer()
        for group in self.optimizer_.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])

    def shapes(self) -> list[torch.Size]:
        """Shapes of the trained parameters, in the order of :meth:`flatten`."""
        return [p.shape for p in self.trainable()]

    def fit_vector(self, vector: torch.Tensor, shapes: Sequence[torch.Size]) -> torch.Tensor:
        """Bring a vector over parameters of older `shapes` to today's: what is new in a grown head gets zeros."""
        parts = []
        for part, old, new in zip(torch.split(vector, [s.numel() for s in shapes]), shapes, self.shapes(), strict=True):
            if old != new:
                part = torch.cat([part, part.new_zeros(new.numel() - old.numel())])
            parts.append(part)
        return torch.cat(parts)

    def resize_head(self, n_outputs: int) -> None:
        """Give the head `n_outputs` outputs: rows are kept, with their optimiser state; new rows are drawn afresh.

        Parameters
        ----------
        n_outputs : int
        """
        head = head_of(self.module_)
        n_old = head.out_features
        if n_outputs == n_old:
            return
        check_own_weight(head, "head")  # what is computed cannot grow
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

    def _swap_in_optimizer(self, old: nn.Parameter, new: nn.Parameter) -> None:
        optimizer = self.optimizer_
        groups = [group for group in optimizer.param_groups if any(p is old for p in group["params"])]
        for group in groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        state = optimizer.state.pop(old, {})
        if state and groups:
            optimizer.state[new] = resized_state(state, groups[0], old, new)
        meet_parameters(optimizer)

    # --- parameters as one vector -------------------------------------------------------------------------------

    def trainable(self) -> list[nn.Parameter]:
        """Parameters that are trained, as a list in a fixed order."""
        return [p for _, p in self.get_all_learnable_params() if p.requires_grad]

    def flatten(self) -> torch.Tensor:
        """Make all trained parameters views of one vector and return that vector.

        Whoever writes to the vector writes to the network. Within the loop it is the vector that the loop moves;
        outside, each call makes a new one, and those of before stay as they are.

        Returns
        -------
        torch.Tensor of shape (n_parameters,)
        """
        if self._moving is not None:
            return self._moving
        return self.adopt(torch.cat([p.detach().reshape(-1) for p in self.trainable()]))

    def move(self, theta: torch.Tensor | None) -> None:
        """Note the vector that a loop moves from now on; None: the loop has ended."""
        self._moving = theta

    def adopt(self, theta: torch.Tensor) -> torch.Tensor:
        """Make all trained parameters views of the vector `theta`, whose values they take; returns the vector."""
        for p, view in zip(self.trainable(), self.unflatten(theta), strict=True):
            p.data = view
        return theta

    def unflatten(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views of a vector in the shapes of the trained parameters, as a list."""
        params = self.trainable()
        return [v.view_as(p) for v, p in zip(torch.split(vector, [p.numel() for p in params]), params, strict=True)]

    def is_padding(self) -> torch.Tensor | None:
        """Tell which numbers of the vector are an embedding's row of the padding, which is not trained.

        Returns
        -------
        torch.Tensor of shape (n_parameters,) or None
            None: there is no such row.
        """
        rows = {
            layer.weight: layer.padding_idx
            for layer in self.module_.modules()
            if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.padding_idx is not None
        }
        trained = self.trainable()
        if not any(p in rows for p in trained):
            return None
        found = torch.zeros(sum(p.numel() for p in trained), dtype=torch.bool, device=trained[0].device)
        for p, view in zip(trained, self.unflatten(found), strict=True):
            if p in rows:
                view[rows[p]] = True
        return found

    def nbytes(self) -> int:
        """Bytes of the weights, buffers included, and of the optimiser's state."""
        return bytes_of(self.module_) + bytes_of(self.optimizer_)

    def is_finite(self) -> bool:
        """Whether all weights, buffers included, and the optimiser's state are finite."""
        return is_finite([self.module_, self.optimizer_])

    # --- undoing ------------------------------------------------------------------------------------------------

    def snapshot(self) -> Callable[[], None]:
        """Note the state of module, optimiser, callbacks and history.

        Returns
        -------
        callable
            Called without arguments, it brings that state back.
        """
        attributes = vars(self).copy()
        parts = [part for part in (self.module_, self.criterion_) if isinstance(part, nn.Module)]
        layers = [
            (layer, {**vars(layer), "_parameters": layer._parameters.copy(), "_buffers": layer._buffers.copy()})
            for part in parts
            for layer in part.modules()
        ]
        tensors = [(t, t.detach().clone()) for part in parts for t in (*part.parameters(), *part.buffers())]
        trained = [(p, p.requires_grad) for p in self.module_.parameters()]
        groups = [group.copy() for group in self.optimizer_.param_groups]
        of_optimizer = vars(self.optimizer_).copy()
        state = {
            p: {key: value.clone() if torch.is_tensor(value) else copy.deepcopy(value) for key, value in entry.items()}
            for p, entry in self.optimizer_.state.items()
        }
        history = list(self.history_)
        # What callbacks note for themselves; what they have written elsewhere, such as files, stays.
        callbacks = [(callback, vars(callback).copy()) for _, callback in self.callbacks_]
        notes = [
            (note, note.copy())
            for _, contents in callbacks
            for note in contents.values()
            if isinstance(note, list | dict | set)
        ]

        def restore() -> None:
            self.__dict__.clear()
            self.__dict__.update(attributes)
            for layer, contents in layers:
                layer.__dict__.clear()
                layer.__dict__.update(contents)
            for tensor, value in tensors:
                tensor.data = value
            for p, is_trained in trained:
                p.requires_grad_(is_trained)
            self.optimizer_.__dict__.clear()
            self.optimizer_.__dict__.update(of_optimizer)
            self.optimizer_.param_groups[:] = groups
            self.optimizer_.state.clear()
            self.optimizer_.state.update(state)
            self.history_[:] = history
            for callback, contents in callbacks:
                callback.__dict__.clear()
                callback.__dict__.update(contents)
            for note, before in notes:
                note.clear()
                (note.extend if isinstance(note, list) else note.update)(before)

        return restore

    def __getstate__(self) -> dict[str, Any]:
        # Views of one vector would each be pickled with the whole vector, so here they are copies for a moment. They
        # come back, since training may be under way.
        params: list[nn.Parameter] = []
        entries: list[dict[str, Any]] = []
        if self.__dict__.get("initialized_"):
            params = self.trainable()
            entries = [self.optimizer_.state[p] for p in params if p in self.optimizer_.state]
        elif isinstance(self.module, nn.Module):  # brought along, perhaps from another net
            params = list(self.module.parameters())
        data, states = [p.data for p in params], [entry.copy() for entry in entries]
        try:
            for p in params:
                p.data = p.data.clone()
            for entry in entries:
                entry.update({key: t.clone() for key, t in entry.items() if torch.is_tensor(t)})
            contents: dict[str, Any] = super().__getstate__()
            contents.pop("_moving", None)
            return contents
        finally:
            for p, view in zip(params, data, strict=True):
                p.data = view
            for entry, state in zip(entries, states, strict=True):
                entry.update(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__dict__.get("initialized_"):
            meet_parameters(self.optimizer_)

    # --- learning -----------------------------------------------------------------------------------------------

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Self:
        """Train on `X`, `y`, as skorch does; arrays and tensors take the fast loop."""
        splits_rows = not self.train_split or isinstance(self.train_split, ValidSplit)
        if isinstance(X, Dataset | dict | list | tuple) or set(fit_params) - {"_routing_method"} or not splits_rows:
            super().fit_loop(X, y, epochs, **fit_params)
            return self
        self.check_data(X, y)
        self.check_training_readiness()
        rows = Rows(x=torch.as_tensor(X).to(self.device), y=torch.as_tensor(y).to(self.device))
        order = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        train(self, PlainLearning(self), Call(rows=rows), order, epochs)
        return self


class ContinualNet(FastLoop, NeuralNetClassifier):
    """A skorch classifier net with a fast loop over data in memory, and a head that grows.

    It is what a classifier's strategy clones and trains. What differs from skorch are the defaults and the loop:
    tensors instead of a ``DataLoader``, fused optimisers, no synchronisation per batch, and no batch callbacks unless a
    callback has them. A table of skorch's callbacks, splits and optimisers, and how each fares here, is in
    ``docs/skorch.md``. A ``torch.utils.data.Dataset`` given as `X` takes skorch's own loop.

    Parameters
    ----------
    module : torch.nn.Module class or instance
        The network; outputs are logits. ``n_inputs`` and ``n_outputs`` are filled in where its signature has them. An
        instance brings its weights along, see below.
    criterion : torch criterion class, default=torch.nn.CrossEntropyLoss
        The loss. With ``torch.nn.NLLLoss`` outputs are taken to be probabilities, as everywhere in skorch. A criterion
        of your own is given the columns of the outputs that are active, and labels that are numbers of these columns.
        What it has for each class (``criterion__weight``, or any one-dimensional tensor in it) is in the order of
        ``classes_``, and there must be a number for each class that is known: so announce them in the first call,
        ``partial_fit(X, y, classes=...)``.
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

    def __init__(self, module: Any, *args: Any, criterion: Any = nn.CrossEntropyLoss, **kwargs: Any) -> None:
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

    def __init__(self, module: Any, *args: Any, criterion: Any = nn.MSELoss, **kwargs: Any) -> None:
        super().__init__(module, *args, criterion=criterion, **kwargs)
