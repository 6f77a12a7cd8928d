"""Hugging Face datasets."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lightning_colorize.common.errors import first_line
from lightning_colorize.common.extras import require_extra
from lightning_colorize.data.decoding.files import ImageError, read_bytes
from lightning_colorize.data.image_set import ImageSet, NameList, Notes
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, require_local
from lightning_colorize.data.sources.containers import Part, split_parts, unique_names

_NEEDED = "a folder of save_to_disk or of Parquet files, or a name on the Hub: pass --data.root"


class HuggingFaceSource(Source):
    """A Hugging Face dataset: a folder of `save_to_disk`, a folder of Parquet files, or the Hub.

    Its own splits are used: train, validation (or val) and test; without validation, it is a tenth
    of train. A dataset of a single split is split by a hash of the names. An image's name is the
    file name in its column, or else the number of its row; an image that repeats an earlier name
    has its row's number in front.

    Args:
        image: The column with the images.
        label: The column with each image's class. A ClassLabel has names, other values are text.
        text: The column with a text for each image.
        subset: Configuration of a dataset that has several.
        exclude_list: Text file of names to leave out, one per line, such as the list of `audit` or
            a run's `broken.txt`.
        splits: How to divide a dataset of a single split, as in FolderSource.
    """

    def __init__(
        self,
        image: str = "image",
        label: str | None = None,
        text: str | None = None,
        subset: str | None = None,
        exclude_list: Path | None = None,
        splits: dict[str, float] | None = None,
    ) -> None:
        self.image = image
        self.label = label
        self.text = text
        self.subset = subset
        self.exclude_list = exclude_list
        self.shares = splits

    def prepare(self, root: Root | None) -> None:
        """Download the dataset, and convert Parquet files into the cache of `datasets`."""
        self._load(require_local(root, "HuggingFaceSource", _NEEDED))

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split.

        Raises:
            SourceError: If the dataset cannot be loaded or lacks a column, or `exclude_list` names
                other images.
        """
        path = require_local(root, "HuggingFaceSource", _NEEDED)
        parts = {name: self._part(dataset, path) for name, dataset in self._load(path).items()}
        return split_parts(parts, self.shares, self.exclude_list, path)

    def _load(self, path: Path) -> dict[str, Any]:
        # A name on the Hub is NAME or OWNER/NAME.
        if not path.is_dir() and (path.exists() or path.is_absolute() or len(path.parts) > 2):
            raise SourceError(f"{path} is not a folder: HuggingFaceSource needs {_NEEDED}")
        require_extra("huggingface", "HuggingFaceSource", "datasets")
        import datasets  # slow

        try:
            if any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):
                loaded = datasets.load_from_disk(str(path))
            else:
                loaded = datasets.load_dataset(path.as_posix(), self.subset)
        except Exception as error:  # of datasets, pyarrow or the Hub
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise SourceError(f"{path}: no Hugging Face dataset: {first_line(cause)}") from error
        return loaded if isinstance(loaded, dict) else {"train": loaded}

    def _part(self, dataset: Any, path: Path) -> Part:
        from datasets import Image

        for column in (self.image, self.label, self.text):
            if column is not None and column not in dataset.features:
                listed = ", ".join(dataset.features)
                raise SourceError(f"{path} has no column {column}, only {listed}")
        try:
            images = dataset.select_columns([self.image]).cast_column(
                self.image, Image(decode=False)
            )
        except Exception as error:  # pyarrow's
            kind = dataset.features[self.image]
            raise SourceError(f"{path}: column {self.image} has no images, but {kind}") from error
        _, paths = images.with_format("arrow")[:][self.image].flatten()
        names = (os.path.basename(file or "") for file in paths.to_pylist())
        numbered = [(f"{row:08d}", name or f"{row:08d}") for row, name in enumerate(names)]
        notes = Notes(*(_cells(dataset, column, path) for column in (self.label, self.text)))
        return Part(
            unique_names(numbered),
            lambda chosen, at: TableImages(chosen, at, images, notes.take(at)),
        )


class TableImages(ImageSet):
    """The images in some rows, (N,), of a dataset's only column."""

    def __init__(self, names: Iterable[str], rows: np.ndarray, dataset: Any, notes: Notes) -> None:
        self.names = NameList(names)
        self.rows = rows
        self.dataset = dataset
        self.notes = notes

    def encoded(self, index: int) -> bytes:
        """Return the image file of a row."""
        # Ten times as fast as `dataset[row]`. No index maps its rows: it was loaded, not selected.
        row = self.dataset.data.column(0)[int(self.rows[index])]
        file = row.as_py() or {"bytes": None, "path": None}
        if file["bytes"] is not None:
            return bytes(file["bytes"])
        if file["path"] is None:
            raise ImageError(Path(self.names[index]), "no image in its row")
        return read_bytes(Path(file["path"]))


def _cells(dataset: Any, column: str | None, path: Path) -> NameList | None:
    """Return a column as text, "" for missing values and for the class -1 of test splits."""
    from datasets import ClassLabel, Value

    if column is None:
        return None
    feature = dataset.features[column]
    values = dataset.with_format("arrow")[:][column].to_pylist()
    if isinstance(feature, ClassLabel):
        values = [None if v is None or v < 0 else feature.names[v] for v in values]
    elif not isinstance(feature, Value):
        raise SourceError(f"{path}: column {column} needs one value per image, not {feature}")
    return NameList("" if value is None else str(value) for value in values)
