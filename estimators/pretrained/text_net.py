"""A pretrained transformer as the network of a strategy: rows of tokens in, one logit per output out."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from torch import nn

from ..engine.lora import add_lora
from ..parameters import Integral, at_least, check_parameters
from .encoders import TextTransformer, named_encoder
from .frozen_features import texts_of


def text_transformer(model: str) -> TextTransformer:
    """Return a text transformer by name; raises ValueError if the name is of something else."""
    encoder = named_encoder(model)
    if not isinstance(encoder, TextTransformer):
        raise ValueError(f"{model!r} is no transformer of texts; give 'minilm' or 'hf:owner/model'.")
    return encoder


class Tokens(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Texts as rows of numbers of tokens, each of one length: what a transformer such as :class:`TextNet` takes.

    Parameters
    ----------
    model : str, default="minilm"
        Whose tokens: ``"minilm"`` (needs ``forgetless[large]``), or ``"hf:owner/model"``, which is downloaded.
    length : int, default=64
        Longer texts are cut; shorter ones are filled up with −1.

    Examples
    --------
    >>> from forgetless.estimators import Tokens
    >>> Tokens(length=6).fit_transform(["a goal", "a late goal"])  # doctest: +SKIP
    array([[ 101., 1037., 3125.,  102.,   -1.,   -1.],
           [ 101., 1037., 2397., 3125.,  102.,   -1.]], dtype=float32)
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"model": [str], "length": [at_least(1, Integral)]}

    def __init__(self, model: str = "minilm", *, length: int = 64) -> None:
        self.model = model
        self.length = length

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.length

    def fit(self, X: Any, y: object = None) -> Self:
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self
        """
        check_parameters(self)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Numbers of tokens.

        Parameters
        ----------
        X : array-like of text, shape (n_samples,) or (n_samples, n_columns)
            Columns are joined by spaces.

        Returns
        -------
        ndarray of shape (n_samples, length)
            Whole numbers, as float32, in which estimators take rows: exact up to 2²⁴.
        """
        check_parameters(self)
        tokens = text_transformer(self.model).tokens(texts_of(X), self.length)
        rows = np.full((len(tokens), self.length), -1, dtype=np.float32)
        for row, numbers in zip(rows, tokens, strict=True):
            row[: len(numbers)] = numbers
        return rows


class NamedInputs(nn.Module):
    """A module of several inputs as one of flat rows: columns side by side, each input by its name.

    Strategies keep, draw and mix rows, and so a row is one vector, whatever is in it.

    Parameters
    ----------
    module : torch.nn.Module
        Called with its inputs by name.
    n_columns : dict of str to int
        How many columns each input has, in their order.
    integers : sequence of str, default=()
        Inputs that are whole numbers, such as ``"input_ids"``; they are given as int64.

    Examples
    --------
    >>> import torch
    >>> from forgetless.estimators import NamedInputs
    >>> class Scaled(torch.nn.Module):
    ...     def forward(self, x, scale):
    ...         return x * scale
    >>> NamedInputs(Scaled(), {"x": 2, "scale": 1})(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 6.]])
    """

    def __init__(self, module: nn.Module, n_columns: dict[str, int], integers: Sequence[str] = ()) -> None:
        super().__init__()
        self.module, self.n_columns, self.integers = module, n_columns, tuple(integers)

    def forward(self, x: torch.Tensor) -> Any:
        """What the module makes of the rows."""
        parts = torch.split(x, list(self.n_columns.values()), dim=-1)
        inputs = dict(zip(self.n_columns, parts, strict=True))
        return self.module(**{name: part.long() if name in self.integers else part for name, part in inputs.items()})

    def rows(self, **inputs: Any) -> NDArray[np.float32]:
        """Inputs by name as rows for an estimator.

        Parameters
        ----------
        **inputs : array-like of shape (n_rows, n_columns)

        Returns
        -------
        ndarray of shape (n_rows, all columns)
        """
        return np.hstack([np.asarray(inputs[name], dtype=np.float32) for name in self.n_columns])


class TextNet(nn.Module):
    """A transformer with a linear head on the mean of its last hidden states over tokens.

    It is a module like any other: ``ContinualNet(TextNet, module__model="minilm", module__lora_rank=8)`` is a net that
    every strategy trains, with rows as :class:`Tokens` makes them. With LoRA, all but the adapters and the head stay
    as they are, and so strategies anchor, measure and keep these few weights only.

    Parameters
    ----------
    n_outputs : int
        Number of outputs. A strategy adds outputs when new classes arrive.
    model : str or torch.nn.Module, default="minilm"
        A name as for :class:`Tokens`, or a transformer that takes ``input_ids`` and ``attention_mask`` and returns
        hidden states, shape (n_rows, length, width), as a tensor or as ``last_hidden_state``; it is copied.
    lora_rank : int, default=None
        Rank of LoRA's matrices in each linear layer of the transformer; None: all weights are trained.
    padding : int, default=-1
        The number that fills rows up; those places are masked.
    gradient_checkpointing : bool, default=False
        Whether the hidden states within layers are computed again in the backward pass, instead of kept.
    bf16 : bool, default=False
        Whether products are in bfloat16 on devices that have it; weights stay in float32.

    References
    ----------
    Hu et al., LoRA: low-rank adaptation of large language models, 2021.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from forgetless.estimators import TextNet
    >>> class Embedding(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embedding = nn.Embedding(10, 4)
    ...     def forward(self, input_ids, attention_mask):
    ...         return self.embedding(input_ids)
    >>> TextNet(n_outputs=2, model=Embedding())(torch.tensor([[1.0, 2.0, -1.0]])).shape
    torch.Size([1, 2])
    """

    reads_tokens = True
    body: nn.Module

    def __init__(
        self,
        n_outputs: int,
        model: str | nn.Module = "minilm",
        lora_rank: int | None = None,
        padding: int = -1,
        gradient_checkpointing: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        body = text_transformer(model).module if isinstance(model, str) else model
        self.body, self.padding, self.bf16 = copy.deepcopy(body), padding, bf16
        if gradient_checkpointing:
            enable: Any = self.body.gradient_checkpointing_enable
            enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora_rank is not None:
            add_lora(self.body, lora_rank)
        self.head = nn.Linear(_width(self.body), n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n_rows, n_outputs), of rows of tokens."""
        ids = x.long()
        mask = (ids != self.padding).long()
        with self._precision(x.device):
            states = self.body(input_ids=ids * mask, attention_mask=mask)
        states = getattr(states, "last_hidden_state", states).float()
        mean = (states * mask[..., None]).sum(-2) / mask.sum(-1, keepdim=True).clamp(min=1)
        logits: torch.Tensor = self.head(mean)
        return logits

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        has_it = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
        if not (self.bf16 and has_it):
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def _width(body: nn.Module) -> int:
    """How many numbers a hidden state has."""
    width = getattr(getattr(body, "config", None), "hidden_size", None)
    if width is None:
        with torch.no_grad():
            one = torch.ones(1, 1, dtype=torch.long)
            states = body(input_ids=one, attention_mask=one)
        width = getattr(states, "last_hidden_state", states).shape[-1]
    return int(width)
