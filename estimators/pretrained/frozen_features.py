"""FrozenFeatures: what a pretrained model makes of rows, computed once for each row."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ..engine.modes import plain_modes
from ..inputs import as_rows
from ..parameters import Integral, at_least, check_parameters
from .cache import IN_MEMORY, DiskCache
from .encoders import Encoder, encoder_of
from .identity import row_key

# Rows whose features are put into the cache together: what an interrupt loses.
_ROWS = 2048


class FrozenFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features by a pretrained model that is not trained any further, computed once for each row.

    A step of a pipeline before closed forms (:class:`NCMClassifier`, :class:`SLDAClassifier`,
    :class:`RandomProjectionClassifier`), or before a small network whose memory then holds features. Features are kept
    by the content of the row and of the model, so a row that comes again, in another experience, under another seed
    or for another strategy, is not computed again. They are the same to the bit with and without a cache, and
    whatever rows come together. The step learns nothing, keeps nothing itself, and its clones share the model.

    Parameters
    ----------
    model : str, torch.nn.Module or callable, default="wordllama"
        - ``"wordllama"``: 256 numbers for a text, means of embeddings of its tokens; fast, needs no network;
        - ``"minilm"``: 384 numbers for a text, by the transformer all-MiniLM-L6-v2;
        - ``"efficientnet-lite0"``: 1,280 numbers for an image with values in [0, 1];
        - ``"hf:owner/model"``: means of a text transformer's last hidden states; ``"timm:model"``: features of images.
          These are downloaded; ``timm`` is a package of its own;
        - a module: its outputs, flat, in evaluation mode. For what enters the head of a classifier, give
          ``Features(module)``;
        - a function, which is given a list of texts or a matrix of numbers, and returns a row of numbers for each.

        What has a name and needs no download is in ``forgetless[large]``.
    input_shape : tuple of int, default=None
        What flat rows are folded into for a module, such as (3, 32, 32). For ``"efficientnet-lite0"`` None is that.
    batch_size : int, default=32
        Rows that pass through the model together. A batch is always filled up to this size, so that a row's features
        do not depend on its company; give 1 where rows come one by one.
    cache : None, "memory" or path-like, default="memory"
        Where features are kept: not at all, in the memory of this process, or in a file of SQLite in this folder,
        which processes can share.
    max_bytes : int, default=1_000_000_000
        How many bytes of features the cache holds, of all models; beyond, those that came first are dropped. In
        memory a row costs about 300 bytes more, on the disk 100.
    device : str, default="cpu"
        Where a module computes; ``"auto"`` is CUDA where there is a device.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the data; texts can be in several columns of a frame, which are joined by spaces.
    feature_names_in_ : ndarray of str
        Where the columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import FrozenFeatures, NCMClassifier, make_incremental_pipeline
    >>> def lengths(texts):
    ...     return np.array([[len(text), text.count(" ")] for text in texts])
    >>> pipe = make_incremental_pipeline(FrozenFeatures(lengths), NCMClassifier())
    >>> pipe = pipe.partial_fit(["a b c", "a b c d"], ["short", "short"])
    >>> pipe = pipe.partial_fit(["a much longer text, with words"], ["long"])
    >>> pipe.predict(["b c", "a text with about as many words"]).tolist()
    ['short', 'long']
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "model": [str, callable],
        "input_shape": [None, tuple, list],
        "batch_size": [at_least(1, Integral)],
        "cache": [None, str, os.PathLike],
        "max_bytes": [at_least(0, Integral)],
        "device": [str],
    }

    n_features_in_: int

    def __init__(
        self,
        model: Any = "wordllama",
        *,
        input_shape: Sequence[int] | None = None,
        batch_size: int = 32,
        cache: str | os.PathLike[str] | None = "memory",
        max_bytes: int = 1_000_000_000,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.batch_size = batch_size
        self.cache = cache
        self.max_bytes = max_bytes
        self.device = device

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params(deep=False))  # the model is never changed, so there need be but one

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = True
        return tags

    def fit(self, X: Any, y: object = None) -> Self:
        """Note the columns; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or of texts, shape (n_samples,)
        y : ignored

        Returns
        -------
        self
        """
        check_parameters(self)
        self._rows(X, reset=True)
        return self

    @plain_modes()
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features of rows; those in the cache are not computed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or of texts, shape (n_samples,)

        Returns
        -------
        ndarray of shape (n_samples, width)

        Raises
        ------
        ImportError
            If the model is in a package that is not installed.
        TypeError
            If a model of texts is given numbers, or the other way round.
        """
        check_parameters(self)
        rows = self._rows(X, reset=False)
        encoder = self._encoder()
        kind = "text" if isinstance(rows[0], str) else "numbers"
        if encoder.takes not in (kind, "anything"):
            raise TypeError(f"The model takes {encoder.takes}, but X is {kind}; give it the columns that it can read.")
        if self.cache is None:
            return self._computed(encoder, rows)
        cache = IN_MEMORY if self.cache == "memory" else DiskCache(self.cache)
        model = encoder.key()
        keys = [row_key(row.encode() if isinstance(row, str) else row.tobytes()) for row in rows]
        known = cache.get(model, list(dict.fromkeys(keys)))
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        for start in range(0, len(missing), _ROWS):
            some = list(missing)[start : start + _ROWS]
            features = self._computed(encoder, [missing[key] for key in some])
            cache.put(model, some, features, self.max_bytes)
            known.update(zip(some, features, strict=True))
        return np.stack([known[key] for key in keys])

    def _encoder(self) -> Encoder:
        return encoder_of(self.model, None if self.input_shape is None else tuple(self.input_shape))

    def _computed(self, encoder: Encoder, rows: Sequence[Any]) -> NDArray[np.float32]:
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return encoder(rows, self.batch_size, device)

    def _rows(self, X: Any, *, reset: bool) -> list[Any]:
        """Texts, or vectors of float32."""
        if is_text(X):
            texts = texts_of(X)
            if hasattr(X, "columns"):
                validate_data(self, X, reset=reset, skip_check_array=True)
            elif reset:
                self.n_features_in_ = 1 if np.ndim(X) == 1 else np.shape(X)[1]
            return texts
        return list(validate_data(self, as_rows(X), dtype=np.float32, order="C", reset=reset))

    @property
    def _n_features_out(self) -> int:
        check_is_fitted(self, "n_features_in_")
        encoder = self._encoder()
        probe: list[Any] = [np.zeros(self.n_features_in_, dtype=np.float32)]
        return int(self._computed(encoder, [""] if encoder.takes == "text" else probe).shape[1])


def is_text(X: Any) -> bool:
    """Whether data are texts, or columns with texts among them, and not numbers only.

    Examples
    --------
    >>> is_text(["a", None]), is_text([[1.0, 2.0]]), is_text(pd.DataFrame({"a": [1], "b": ["c"]}))
    (True, False, True)
    """
    if hasattr(X, "columns"):
        return any(not pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes)
    if not hasattr(X, "dtype"):
        X = np.asarray(X)
    kind = getattr(X.dtype, "kind", "")
    return kind in ("U", "S") or (kind == "O" and any(isinstance(value, str) for value in np.asarray(X).ravel()))


def texts_of(X: Any) -> list[str]:
    """The text of each row: its columns joined by spaces, and nothing for what is missing.

    Parameters
    ----------
    X : array-like of text, shape (n_samples,) or (n_samples, n_columns)

    Returns
    -------
    list of str

    Examples
    --------
    >>> texts_of([["A title", "and a text"], ["Only a title", None]])
    ['A title and a text', 'Only a title']
    """
    columns = np.asarray(X, dtype=object)
    if columns.ndim == 1:
        columns = columns[:, None]
    return [" ".join(str(value) for value in row if not pd.isna(value)) for row in columns]
