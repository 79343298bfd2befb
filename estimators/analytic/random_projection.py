"""RandomProjection: fixed random features and ridge regression on them, in closed form."""

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import nn

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.modules import head_of
from ..parameters import Integral, above, at_least, one_of
from .moments import ClosedForm, Moments, Which, require_square

# Candidates for the ridge, largest first, in units of the mean eigenvalue of the centred Gram matrix.
_RIDGES = tuple(10.0**k for k in range(1, -8, -1))
# A ridge below this share of the Gram matrix's trace is lost in the rounding of products in single precision.
_ROUNDING = float(np.finfo(np.float32).eps)
# The ridge where there is nothing to choose by, in the same unit.
_FALLBACK = 1e-3
# One row in so many is held out.
_HOLD_OUT = 5
Floats: TypeAlias = NDArray[np.float64]
# Of some rows: number, means of features and targets, G, C, and Σ‖y−ȳ‖².
Equations: TypeAlias = tuple[float, Floats, Floats, Floats, Floats, float]


class RandomProjection(ClosedForm):
    """Predictions ȳ + (φ(x) − φ̄) W with W = (G + λI)⁻¹ C; φ(x) = max(0, [x, 1] R) or cos([x, 1] R), R drawn once.

    G = Σ (φ−φ̄)(φ−φ̄)ᵀ and C = Σ (φ−φ̄)(y−ȳ)ᵀ are running sums over all rows.
    """

    source = "RanPAC: McDonnell et al. 2023; RanDumb: Prabhu et al. 2024"
    input_dtype = (np.float64, np.float32)
    fixed_parameters = ("n_features", "activation", "gamma")
    parameter_constraints = {
        "n_features": [at_least(1, Integral)],
        "activation": [one_of("relu", "fourier")],
        "gamma": [None, above(0)],
        "ridge": [above(0), one_of("auto")],
        "random_state": ["random_state"],
    }

    projection_: torch.Tensor

    def __init__(
        self,
        n_features: int = 1000,
        *,
        activation: str = "relu",
        gamma: float | None = None,
        ridge: float | str = "auto",
        features: nn.Module | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.activation = activation
        self.gamma = gamma
        self.ridge = ridge
        self.features = features
        self.random_state = random_state

    @property
    def ridge_(self) -> float:
        """The ridge λ that predictions are made with."""
        return float(self.solution()["ridge"])

    def prepare_features(self, call: Call) -> None:
        """Draw R, and what decides which rows are held out."""
        require_square(self, self.n_features)
        super().prepare_features(call)
        rng = np.random.default_rng([call.entropy[0], *b"projection"])
        n_inputs = self.n_features_in_ if self.features is None else head_of(self.features).in_features
        self.projection_ = torch.from_numpy(rng.standard_normal((n_inputs + 1, self.n_features), dtype=np.float32))
        if self.activation == "fourier":  # frequencies of the Gaussian kernel, and phases
            gamma = 1 / n_inputs if self.gamma is None else self.gamma
            phases = np.random.default_rng([call.entropy[0], *b"phases"]).uniform(0, 2 * np.pi, self.n_features)
            self.projection_[:-1] *= np.sqrt(2 * gamma)
            self.projection_[-1] = torch.from_numpy(phases)
        # Odd multipliers: a row's bits times these decide whether it is held out.
        self.hash_ = rng.integers(2**31, size=self.n_features_in_, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        self.holds_out_ = self.ridge == "auto"

    def fixed_tensors(self) -> list[torch.Tensor]:
        """R, too."""
        return [*super().fixed_tensors(), self.projection_]

    def features_of(self, x: torch.Tensor) -> torch.Tensor:
        """max(0, [x, 1] R), or cos([x, 1] R)."""
        x = super().features_of(x)
        R = self.projection_.to(x.dtype)
        projected = torch.addmm(R[-1], x, R[:-1])
        return projected.cos_() if self.activation == "fourier" else projected.relu_()

    def parts_of(self, X: NDArray[Any], y: NDArray[Any]) -> Sequence[Which]:
        """Rows to learn from, and rows held out: by the row's content, so whatever the order and the chunks."""
        if not self.holds_out_:
            return [slice(None)]
        rounded = X.astype(np.float32)
        rest = (X - rounded).astype(np.float32)
        bits = (rounded + np.float32(0)).view(np.uint32) + rest.view(np.uint32)
        held_out = bits @ self.hash_ < 2**32 // _HOLD_OUT
        return [~held_out, held_out]

    def parts_of_other(self, other: Self, groups: NDArray[np.int64]) -> Sequence[int]:
        """The same; one that holds rows out does not mix with one that does not."""
        if self.holds_out_ != other.holds_out_:
            raise ValueError("One of the two chooses its ridge and the other does not; give both a number, or neither.")
        return super().parts_of_other(other, groups)

    def equations(self, moments: Moments) -> Equations:
        """Of the rows behind the moments: number, means of features and targets, G, C, and Σ‖y−ȳ‖²."""
        raise NotImplementedError

    def solve(self) -> dict[str, Any]:
        """W = (G + λI)⁻¹ C, with the ridge that was given or is chosen."""
        learned, *held_out = self.moments_
        everything = learned
        for moments in held_out:
            everything = everything.merged(moments, np.arange(self.n_groups()), self.n_groups())
        equations = self.equations(everything)
        if not isinstance(self.ridge, str):
            ridge = self.ridge
        elif held_out:
            ridge = self._choose(self.equations(learned), self.equations(held_out[0])) * _scale(equations)
        else:
            raise ValueError("ridge='auto' needs held-out rows, but ridge was a number when the first rows came.")
        _, mean, target, gram, cross, _ = equations
        weights = _ridge(gram, cross, ridge)
        if weights is None:
            raise ValueError(f"ridge={ridge} is too small for these data; use a larger one, or 'auto'.")
        return {"weights": weights, "bias": target, "centre": mean, "ridge": float(ridge)}

    def _choose(self, learned: Equations, held_out: Equations) -> float:
        """The largest ridge after which the squared error on held-out rows rises, in units of the mean eigenvalue.

        That error is closed form, too.
        """
        n_learned, mean, target, gram, cross, _ = learned
        n, mean_out, target_out, gram_out, cross_out, square_out = held_out
        best, least = _FALLBACK, np.inf
        for share in _RIDGES:
            if not (n_learned and n) or share < _ROUNDING * len(gram):
                break
            W = _ridge(gram, cross, share * _scale(learned))
            if W is None:
                break
            # Σ ‖(y−ȳ) − Wᵀ(φ−φ̄)‖² around the means of the held-out rows, and the offset of the two predictions there.
            spread = (
                square_out
                - 2 * (W * cross_out).sum()
                + (W * (2 * (gram_out @ W) - gram_out.diagonal()[:, None] * W)).sum()
            )
            error = spread + n * np.square(target_out - target - (mean_out - mean) @ W).sum()
            if error >= least:
                break
            best, least = share, error
        return best


def _scale(equations: Equations) -> float:
    """Mean eigenvalue of the Gram matrix; 1 where it is zero."""
    return np.trace(equations[3]) / len(equations[3]) or 1.0


def _ridge(gram: Floats, cross: Floats, ridge: float) -> Floats | None:
    """(G + λI)⁻¹ C by Cholesky's factors; None where G + λI is not positive in this precision. `gram` is upper."""
    shifted = gram.copy()
    shifted.flat[:: len(gram) + 1] += ridge
    try:
        factor = linalg.cho_factor(shifted.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    weights: Floats = linalg.cho_solve(factor, cross, check_finite=False)
    return weights


class RandomProjectionClassifier(RandomProjection, ContinualClassifier):
    r"""Random features and ridge regression of the classes on them, in closed form.

    :math:`\phi(x) = \max(0, [x, 1] R)` with a fixed R of independent standard normal numbers, and scores
    :math:`\bar y + (\phi(x) - \bar\phi)^\top W`, where :math:`W = (G + \lambda I)^{-1} C`,
    :math:`G = \sum (\phi-\bar\phi)(\phi-\bar\phi)^\top`, :math:`C = \sum (\phi-\bar\phi)(y-\bar y)^\top`, with one-hot
    y: the model of scikit-learn's ``Ridge(alpha=λ)`` with intercept on the same features. G and C follow from running
    counts, class means and scatter within classes, which are exact sums over the data, so classes may come at any time,
    any order and any chunking gives the same model, and :meth:`unlearn` and :meth:`merge` are exact. Products are in
    single precision, of centred rows, and sums in double. ``predict_proba`` is the softmax of the scores; its order is
    meaningful, its values are not calibrated.

    ``activation="fourier"`` takes :math:`\phi(x) = \cos([x, 1] R)` instead, with frequencies from
    :math:`N(0, 2\gamma)` and phases from :math:`[0, 2\pi)` in R: :math:`\frac{2}{n}\phi(x)^\top\phi(x')` tends to the
    Gaussian kernel :math:`\exp(-\gamma\|x-x'\|^2)` as the number n of features grows, so that predictions tend to
    those of kernel ridge regression (RanDumb has such features).

    Inputs should have the order of magnitude of 1, so that the 1 beside them has some weight. Features of float64 (and
    integers) are computed in double precision, those of float32 in single.

    Parameters
    ----------
    n_features : int, default=1000
        Number of random features. Memory grows with its square, by 8 bytes each (16 with ``ridge="auto"``).
    activation : {"relu", "fourier"}, default="relu"
        What becomes of projected rows.
    gamma : float, default=None
        γ, with ``activation="fourier"``; None: 1 / number of inputs (of the module's features, if there is one).
    ridge : float or "auto", default="auto"
        λ. "auto": each time predictions are asked for and something was learned, of 10, 1, 0.1, … times the mean
        eigenvalue of G, down to what single precision allows, the largest after which the squared error on held-out
        rows rises. The moments of one row in five, chosen by a hash of its content, are kept apart for that; no row is
        kept, since the error follows from the moments. Then W is solved from all rows, with as many mean eigenvalues.
    features : torch.nn.Module, default=None
        A trained module whose features are projected, as for :class:`NCMClassifier`; None: the inputs themselves.
    random_state : int, RandomState instance or None, default=None
        Seed of R.

    Attributes
    ----------
    projection_ : torch.Tensor of shape (width + 1, n_features)
        R.
    ridge_ : float
        The λ in use.
    counts_ : ndarray of shape (n_classes,)
        Rows learned of each class.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    McDonnell et al., RanPAC: random projections and pre-trained models for continual learning, 2023. Prabhu et al.,
    Random representations outperform online continually learned representations, 2024. Rahimi & Recht, Random features
    for large-scale kernel machines, 2007.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import RandomProjectionClassifier
    >>> digits, clf = load_digits(), RandomProjectionClassifier(n_features=500, random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.95
    True
    """

    def equations(self, moments: Moments) -> Equations:
        """With one-hot classes as targets."""
        n, mean, gram = moments.total()
        cross = (moments.counts[:, None] * (moments.means - mean)).T
        share = moments.counts / max(n, 1)
        return n, mean, share, gram, cross, n * (1 - np.square(share).sum())


class RandomProjectionRegressor(RandomProjection, ContinualRegressor):
    r"""Random features and ridge regression on them, in closed form.

    As :class:`RandomProjectionClassifier`, with targets in the place of one-hot classes: predictions are
    :math:`\bar y + (\phi(x) - \bar\phi)^\top W`, those of scikit-learn's ``Ridge(alpha=λ)`` with intercept on the
    features :math:`\phi(x) = \max(0, [x, 1] R)`, or :math:`\cos([x, 1] R)`, whatever the order and the chunking of the
    data.

    Parameters
    ----------
    n_features : int, default=1000
        Number of random features.
    activation : {"relu", "fourier"}, default="relu"
        What becomes of projected rows.
    gamma : float, default=None
        γ, with ``activation="fourier"``; None: 1 / number of inputs (of the module's features, if there is one).
    ridge : float or "auto", default="auto"
        λ; "auto": chosen by the squared error on held-out rows.
    features : torch.nn.Module, default=None
        A trained module whose features are projected, as for :class:`NCMClassifier`; None: the inputs themselves.
    random_state : int, RandomState instance or None, default=None
        Seed of R.

    Attributes
    ----------
    projection_ : torch.Tensor of shape (width + 1, n_features)
        R.
    ridge_ : float
        The λ in use.
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    McDonnell et al., RanPAC: random projections and pre-trained models for continual learning, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import RandomProjectionRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = RandomProjectionRegressor(n_features=200, random_state=0)
    >>> for part in np.array_split(x, 4):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(x, np.sin(2 * x[:, 0])) > 0.99
    True
    """

    def equations(self, moments: Moments) -> Equations:
        """The targets stand beside the features."""
        n, mean, scatter = moments.total()
        width = self.projection_.shape[1]
        gram, cross, square = scatter[:width, :width], scatter[:width, width:], scatter.diagonal()[width:].sum()
        return n, mean[:width], mean[width:], gram, cross, square
