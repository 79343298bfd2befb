"""Data of one's own: tables, files, folders of images, and OpenML."""

import lzma
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Dataset, Kind, every_fifth
from .extra import from_extra

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


def load_frame(
    frame: "pd.DataFrame",
    target: str,
    *,
    drop: str | Sequence[str] = (),
    name: str = "frame",
    kind: Kind | None = None,
    allow_nan: bool = False,
    description: str = "",
) -> Dataset:
    """Make a data set of a table.

    Parameters
    ----------
    frame : DataFrame
        One row per example, in the order in which they came.
    target : str
        The column to predict.
    drop : str or sequence of str, default=()
        Columns to leave out.
    name : str, default="frame"
        Name of the data set.
    kind, allow_nan, description
        As for :class:`Dataset`.

    Returns
    -------
    Dataset
        Inputs are a DataFrame of the other columns. There is no test part; :meth:`Dataset.split` draws one.

    Raises
    ------
    ValueError
        If there is no such column, or something is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from forgetless.datasets import load_frame
    >>> sales = pd.DataFrame({"id": [1, 2, 3], "price": [2.5, 3.0, 1.0], "sold": ["yes", "no", "yes"]})
    >>> load_frame(sales, "sold", drop=["id"], name="sales")
    Dataset('sales': 3 training rows, no test rows, 1 feature, 2 classes)
    """
    X, y = inputs_and_target(frame, target, drop)
    options: dict[str, Any] = {"description": description, "kind": kind, "allow_nan": allow_nan}
    return Dataset(name, X, y, **options)


def inputs_and_target(
    frame: "pd.DataFrame", target: str, drop: str | Sequence[str]
) -> tuple["pd.DataFrame", "pd.Series[Any]"]:
    """Part a table into inputs and target.

    Parameters
    ----------
    frame, target, drop
        As for :func:`load_frame`.

    Returns
    -------
    DataFrame, Series

    Raises
    ------
    ValueError
        If there is no such column, one is there twice, or targets are missing.
    """
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].unique().tolist()
        raise ValueError(f"The table has columns of the same name: {twice}.")
    left_out = [target, *as_names(drop)]
    unknown = [column for column in left_out if column not in frame.columns]
    if unknown:
        raise ValueError(f"The table has no column {unknown[0]!r}; its columns are {frame.columns.tolist()}.")
    missing = int(frame[target].isna().sum())
    if missing:
        raise ValueError(f"The target {target!r} is missing in {missing} of {len(frame)} rows; leave these rows out.")
    return frame.drop(columns=left_out), frame[target]


def as_names(names: str | Sequence[str]) -> list[str]:
    """Return names of columns as a list, of which one may come alone.

    Parameters
    ----------
    names : str or sequence of str

    Returns
    -------
    list of str

    Examples
    --------
    >>> as_names("id")
    ['id']
    """
    return [names] if isinstance(names, str) else list(names)


def read_csv(source: Any, name: str, **options: Any) -> "pd.DataFrame":
    """Read CSV by pandas, or say what cannot be read.

    Parameters
    ----------
    source : Path or file-like
    name : str
        What it is, for messages.
    **options
        Of :func:`pandas.read_csv`.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If it is empty, cannot be unpacked, is no text in UTF-8, or has rows with more values than names.
    """
    import pandas as pd

    # index_col=False: pandas would take the first column for names of rows if the rows are longer than the header.
    options = {"index_col": False, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Length of header", pd.errors.ParserWarning)
        try:
            with unpacking(name):
                frame: pd.DataFrame = pd.read_csv(source, **options)
        except pd.errors.EmptyDataError:
            raise ValueError(f"{name} is empty.") from None
        except pd.errors.ParserWarning:
            raise ValueError(f"{name} has rows with more values than names; give every column a name.") from None
        except (pd.errors.ParserError, UnicodeError) as error:
            raise ValueError(f"{name} is not CSV that can be read: {str(error).strip()}") from error
    return frame


@contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Name the file in errors about what is compressed otherwise than its name says, or damaged.

    Parameters
    ----------
    name : str

    Raises
    ------
    ValueError
        If it cannot be unpacked.
    """
    try:
        yield
    except (EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, which name the file
            raise
        raise ValueError(
            f"{name} cannot be unpacked ({error}): it is damaged, or not compressed as its name says."
        ) from error


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """Name the file in errors about what is no Parquet.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    pyarrow = from_extra("pyarrow")
    try:
        yield
    except pyarrow.ArrowInvalid as error:
        raise OSError(f"{path} is not a Parquet file that can be read: {error}") from error


def load_csv(
    path: str | os.PathLike[str],
    target: str,
    *,
    drop: str | Sequence[str] = (),
    name: str | None = None,
    kind: Kind | None = None,
    allow_nan: bool = False,
    **options: Any,
) -> Dataset:
    """Load a CSV file.

    Parameters
    ----------
    path : str or path-like
        The file, compressed (``.gz``, ``.bz2``, ``.xz``, ``.zip``) or not.
    target, drop, kind, allow_nan
        As for :func:`load_frame`.
    name : str, default=None
        Name of the data set; ``None``: the file's name, up to the first dot.
    **options
        Options of :func:`pandas.read_csv`, such as ``sep`` or ``parse_dates``.

    Returns
    -------
    Dataset
        As of :func:`load_frame`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it cannot be unpacked, is no text or has rows with more values than names, or as in :func:`load_frame`.

    Examples
    --------
    >>> from forgetless.datasets import load_csv
    >>> load_csv("electricity.csv.gz", target="class")  # doctest: +SKIP
    Dataset('electricity': 45312 training rows, no test rows, 6 features, 2 classes)
    """
    frame = read_csv(Path(path), str(path), **options)
    return load_frame(frame, target, drop=drop, name=name or _stem(path), kind=kind, allow_nan=allow_nan)


def load_parquet(
    path: str | os.PathLike[str],
    target: str,
    *,
    drop: str | Sequence[str] = (),
    name: str | None = None,
    kind: Kind | None = None,
    allow_nan: bool = False,
) -> Dataset:
    """Load a Parquet file.

    Parameters
    ----------
    path : str or path-like
        The file.
    target, drop, name, kind, allow_nan
        As for :func:`load_csv`.

    Returns
    -------
    Dataset
        As of :func:`load_frame`.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the file cannot be read.
    ValueError
        As in :func:`load_frame`.

    Examples
    --------
    >>> from forgetless.datasets import load_parquet
    >>> load_parquet("flights.parquet", target="arr_delay")  # doctest: +SKIP
    Dataset('flights': 327346 training rows, no test rows, 12 features, regression)
    """
    with reading_parquet(Path(path)):
        frame = from_extra("pyarrow.parquet").read_table(Path(path)).to_pandas()
    return load_frame(frame, target, drop=drop, name=name or _stem(path), kind=kind, allow_nan=allow_nan)


def load_openml(
    name_or_id: str | int,
    *,
    version: int | str = "active",
    target: str | None = None,
    drop: str | Sequence[str] = (),
    kind: Kind | None = None,
    allow_nan: bool = False,
    data_home: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set of OpenML, by scikit-learn's :func:`~sklearn.datasets.fetch_openml`, which downloads it once.

    Parameters
    ----------
    name_or_id : str or int
        Its name or, better, its number: names have several versions.
    version : int or "active", default="active"
        The version, with a name.
    target : str, default=None
        The column to predict; ``None``: the one that OpenML names.
    drop, kind, allow_nan
        As for :func:`load_frame`.
    data_home : str or path-like, default=None
        Folder of downloaded files; by default scikit-learn's data folder.

    Returns
    -------
    Dataset
        As of :func:`load_frame`, in OpenML's order.

    Raises
    ------
    OSError
        If it is neither in the folder nor can be downloaded.
    ValueError
        If there is no such data set, or as in :func:`load_frame`.

    Examples
    --------
    >>> from forgetless.datasets import load_openml
    >>> load_openml(1497)  # doctest: +SKIP
    Dataset('wall-robot-navigation': 5456 training rows, no test rows, 24 features, 4 classes)
    """
    from sklearn.datasets import fetch_openml, get_data_home

    which = {"name": name_or_id, "version": version} if isinstance(name_or_id, str) else {"data_id": int(name_or_id)}
    home = get_data_home(data_home)
    try:
        bunch = fetch_openml(**which, target_column=target or "default-target", data_home=home, as_frame=True)
    except OSError as error:
        raise OSError(
            f"OpenML cannot be reached ({error}), and {Path(home, 'openml')} does not have {name_or_id!r} yet: load it "
            "where there is a network, and put the folder openml from there into "
            f"{home}."
        ) from error
    if len(bunch.target_names) != 1:
        raise ValueError(
            f"OpenML names {len(bunch.target_names)} targets for {name_or_id!r}; give target, one of the columns "
            f"{bunch.frame.columns.tolist()}."
        )
    return load_frame(
        bunch.frame,
        bunch.target_names[0],
        drop=drop,
        name=bunch.details["name"],
        kind=kind,
        allow_nan=allow_nan,
        description=f"OpenML {bunch.details['id']}, version {bunch.details['version']}.",
    )


def load_images(
    folder: str | os.PathLike[str], size: tuple[int, int] | None = None, *, grey: bool = False, name: str | None = None
) -> Dataset:
    """Load images from a folder that has a folder for each class.

    Parameters
    ----------
    folder : str or path-like
        The folder. If it has the folders ``train`` and ``test`` and no other, each of them has the folders of classes.
    size : tuple of int, default=None
        Height and width in pixels to which images are scaled; ``None``: all have the same size already.
    grey : bool, default=False
        Whether one channel of brightness is enough; otherwise there are red, green and blue.
    name : str, default=None
        Name of the data set; ``None``: that of the folder.

    Returns
    -------
    Dataset
        Rows of pixels in [0, 1] in float32, by channel, row and column; in the order of the files' names, class by
        class. Images stand upright, as their cameras say, and what is transparent in them is white. Labels are the
        names of the folders. Without ``train`` and ``test``, there is no test part; :meth:`Dataset.split` draws one.
        What is no image by its name is left out.

    Raises
    ------
    OSError
        If the folder or an image cannot be read.
    ValueError
        If there are no images, they are not of one size, or an image has pixels of 32 bits.

    Examples
    --------
    >>> from forgetless.datasets import load_images
    >>> load_images("leaves", size=(64, 64))  # doctest: +SKIP
    Dataset('leaves': 1200 training rows, no test rows, 12288 features, 12 classes)
    """
    root = Path(folder)
    parts = [root / "train", root / "test"] if {path.name for path in _folders(root)} == {"train", "test"} else [root]
    (X, y), *test = (_labelled_images(part, size, "L" if grey else "RGB") for part in parts)
    return Dataset(name or root.resolve().name, X, y, *(test[0] if test else (None, None)))


def load_image_folder(data_home: str | os.PathLike[str] | None = None) -> Dataset:
    """Load your own images from the folder ``images`` in `data_home`, for suites of benchmarks.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The parent of the folder; by default scikit-learn's data folder.

    Returns
    -------
    Dataset
        As of :func:`load_images`, scaled to 32 x 32 pixels. Without ``train`` and ``test``, every fifth image of a
        class is for testing.

    Raises
    ------
    OSError
        If the folder is missing, or it or an image cannot be read.
    ValueError
        If there are no images.

    Examples
    --------
    >>> from forgetless.datasets import load_image_folder
    >>> load_image_folder()  # doctest: +SKIP
    Dataset('images': 960 training rows, 240 test rows, 3072 features, 12 classes)
    """
    from sklearn.datasets import get_data_home

    folder = Path(get_data_home(data_home), "images")
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; put a folder for each class into it, with its images.")
    images = load_images(folder, size=(32, 32))
    if len(images.y_test):
        return images
    X, y = images.X_train, images.y_train
    is_test = every_fifth(y)
    return Dataset(images.name, X[~is_test], y[~is_test], X[is_test], y[is_test], image_shape=images.image_shape)


def _labelled_images(folder: Path, size: tuple[int, int] | None, mode: str) -> tuple[np.ndarray, np.ndarray]:
    # Pillow is there as matplotlib's reader of images.
    from PIL import Image, ImageOps

    endings = Image.registered_extensions()
    paths = [path for each in _folders(folder) for path in sorted(each.iterdir()) if path.suffix.lower() in endings]
    if not paths:
        raise ValueError(f"{folder} has no folders with images; give each class a folder of its own.")
    images: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as file:
                image = _without_transparency(ImageOps.exif_transpose(file))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise OSError(f"{path} is not an image that can be read: {error}") from error
        if image.mode in ("I", "F"):
            raise ValueError(f"{path} has pixels of 32 bits, whose range is not known; save it with 8 or 16 bits.")
        pixels = _pixels(image, size, mode)
        if images and pixels.shape != images[0].shape:
            raise ValueError(
                f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but {paths[0]} has other ones; give "
                "size=(height, width)."
            )
        images.append(pixels)
    pixels = np.stack(images).reshape(len(images), *images[0].shape[:2], -1)
    return pixels.transpose(0, 3, 1, 2) / np.float32(255), np.array([path.parent.name for path in paths])


def _without_transparency(image: "Image.Image") -> "Image.Image":
    """Put what is transparent on a white ground."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def _pixels(image: "Image.Image", size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """Return what is in an image, scaled to [0, 255], by row, column and channel."""
    from PIL import Image

    is_deep = image.mode.startswith("I;16")  # Pillow would cut these values off at 255
    image = Image.fromarray(np.asarray(image) / np.float32(257)) if is_deep else image.convert(mode)
    pixels = np.asarray(image if size is None else image.resize(size[::-1]))
    if not is_deep:
        return pixels
    pixels = pixels.clip(0, 255)
    return pixels if mode == "L" else np.stack([pixels] * 3, axis=-1)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stem(path: str | os.PathLike[str]) -> str:
    return Path(path).name.split(".")[0]
