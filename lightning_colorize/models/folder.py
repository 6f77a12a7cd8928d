"""A folder of images colorized elsewhere, matched to the true images by name."""

import unicodedata
from collections.abc import Sequence
from os.path import splitext
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import Condition
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import read_bytes, read_header, read_image
from lightning_colorize.data.splits import split_of
from lightning_colorize.models.base import Model, View

_SAME_SHAPE = 0.02  # maximum relative difference of two aspect ratios due to rounding


class FolderModel(Model):
    """A folder of images colorized elsewhere; `files` are relative to it.

    A true image `cats/a.jpg` matches its own name, `cats/a.jpg.*` (from name clashes in `colorize`)
    and `cats/a.*`, in this order. In a folder with splits, `test/cats/a.jpg` also matches without
    `test/`. Names are compared in Unicode normal form C.
    """

    path: Path
    kind = "images"
    keeps_lightness = False
    conditions = frozenset()
    sees_whole = True
    sha256 = None

    def __init__(self, path: Path, files: Sequence[str], data: Path) -> None:
        self.path = path
        self.data = data
        self._exact: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for file in files:
            self._exact.setdefault(_composed(file), []).append(file)
            self._stems.setdefault(splitext(_composed(file))[0], []).append(file)

    def find(self, name: str) -> str | None:
        """Return the file that matches a true image, or None; several are refused."""
        name = _composed(name)
        first, _, rest = name.partition("/")
        names = [name, rest] if rest and split_of(first) else [name]
        for key in names:
            stem, _ = splitext(key)
            found = self._exact.get(key) or self._stems.get(key) or self._stems.get(stem, [])
            if len(found) > 1:
                raise UsageError(
                    f"{self} has {found[0]} and {found[1]} for {name}; remove one of them"
                )
            if found:
                return found[0]
        return None

    def has(self, name: str) -> bool:
        """Return whether a file matches the image."""
        return self.find(name) is not None

    def predict_rgb(self, name: str, truth: Tensor, view: View) -> Tensor:
        """Return the image, prepared like the truth.

        An image with another aspect ratio, such as the square output of a network, is stretched to
        the whole true image first; an unknown crop is refused.

        Raises:
            ImageError: If the file cannot be read.
        """
        file = self.find(name)
        assert file is not None, "only images that all systems have are compared"
        path, whole = self.path / file, self.data / name
        rgb = read_image(path, view.side)
        if view.prepare is not None and not (view.finished and rgb.shape == truth.shape):
            height, width, *_ = read_header(read_bytes(whole), whole)
            if abs(width / height * rgb.shape[-2] / rgb.shape[-1] - 1) > _SAME_SHAPE:
                if view.crops:
                    raise UsageError(
                        f"{path} has neither the size of the protocol nor the shape of the whole "
                        "image"
                    )
                rgb = TF.resize(rgb, [height, width], antialias=True)
            rgb = view.prepare(rgb)
        # Without resizing, compare at the size of the truth.
        resized: Tensor = TF.resize(rgb, list(truth.shape[-2:]), antialias=True)
        return resized

    def predict(self, L: Tensor, condition: Condition) -> Tensor:
        """Raise an error: images are found by name, see `predict_rgb`.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{self} holds colored images and cannot color others")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
