"""The small classification data sets that scikit-learn ships; they need no download.

Each is split 80/20 into training and test rows, stratified by class; by default the split is always the same. Apart
from the pixels of the digits, features are not scaled: that is left to a pipeline, which is fitted on the training data
only.
"""

import numpy as np

from .base import Dataset, RandomState


def load_digits(random_state: RandomState = 0) -> Dataset:
    """Load the optical digits of UCI: 1,797 images of 8 x 8 pixels, ten classes.

    Pixels are divided by 16, so that they lie in [0, 1], which float32 holds exactly.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the test rows.

    Returns
    -------
    Dataset
        1,437 training and 360 test rows.

    Examples
    --------
    >>> from forgetless.datasets import load_digits
    >>> digits = load_digits()
    >>> digits
    Dataset('digits': 1437 training rows, 360 test rows, 64 features, 10 classes)
    >>> digits.image_shape
    (1, 8, 8)
    """
    description = "Handwritten digits of 43 people, UCI 80 (test part), 8 x 8 pixels in [0, 1]; Alpaydin, Kaynak 1998."
    return _embedded("digits", description, random_state, scale=16, image_shape=(1, 8, 8))


def load_iris(random_state: RandomState = 0) -> Dataset:
    """Load Fisher's iris data: 150 flowers, four measurements in centimetres, three species.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the test rows.

    Returns
    -------
    Dataset
        120 training and 30 test rows.

    Examples
    --------
    >>> from forgetless.datasets import load_iris
    >>> load_iris()
    Dataset('iris': 120 training rows, 30 test rows, 4 features, 3 classes)
    """
    description = "Sepals and petals of setosa (0), versicolor (1) and virginica (2), in cm; Fisher 1936, UCI 53."
    return _embedded("iris", description, random_state)


def load_wine(random_state: RandomState = 0) -> Dataset:
    """Load the wine data of UCI: 178 wines, thirteen chemical measurements, three growers.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the test rows.

    Returns
    -------
    Dataset
        142 training and 36 test rows.

    Examples
    --------
    >>> from forgetless.datasets import load_wine
    >>> load_wine()
    Dataset('wine': 142 training rows, 36 test rows, 13 features, 3 classes)
    """
    description = "Chemical analysis of wines from three growers of one region; Aeberhard, Forina 1991, UCI 109."
    return _embedded("wine", description, random_state)


def load_breast_cancer(random_state: RandomState = 0) -> Dataset:
    """Load the Wisconsin diagnostic breast cancer set: 569 tumours, thirty measurements, two diagnoses.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the test rows.

    Returns
    -------
    Dataset
        455 training and 114 test rows.

    Examples
    --------
    >>> from forgetless.datasets import load_breast_cancer
    >>> load_breast_cancer()
    Dataset('breast_cancer': 455 training rows, 114 test rows, 30 features, 2 classes)
    """
    description = "Cell nuclei of malignant (0) and benign (1) tumours; Wolberg, Street, Mangasarian 1995, UCI 17."
    return _embedded("breast_cancer", description, random_state)


def _embedded(
    name: str,
    description: str,
    random_state: RandomState,
    scale: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> Dataset:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    X = bunch.data if scale is None else bunch.data.astype(np.float32) / np.float32(scale)
    y = bunch.target.astype(np.int64)
    feature_names = [str(feature) for feature in bunch.feature_names]
    data = Dataset(name, X, y, None, None, image_shape, feature_names, description)
    return data.split(random_state=random_state)
