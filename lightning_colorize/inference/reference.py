"""Colors like those of a reference photograph, by corresponding features."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.color import to_lab, to_lightness, to_unit
from lightning_colorize.color.hints import CONFIDENCE
from lightning_colorize.common.bundled import BUNDLED, DEFAULT
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import (
    ImageError,
    Limits,
    from_pillow,
    opened,
    read_bytes,
)
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.models.control import Control, Reference, resize_hints
from lightning_colorize.models.image import seen_side
from lightning_colorize.models.load import load_model
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.networks import ColorizationNetwork
from lightning_colorize.networks.network import pad_input, round_up

_SIDE = 128  # short side of both images in pixels
_CELL = 4  # pixels of a feature
_REDUCTIONS = (4, 8, 16)  # of the levels whose features are compared
_SIMILAR = 0.62  # cosine from which features correspond
_NEAR, _NEIGHBORS = 2, 3  # cells in the reference; how many of the 8 neighbors must be near
_FEWEST = 12  # correspondences: fewer are chance
_SHARPNESS = 50.0  # of weights: a similarity of 0.02 more is a weight of e times as much
_AROUND = 8  # no correspondence counts within this share of the short side of what is painted
_LEAST = 16  # pixels of a reference's short side
_MOST = 64_000_000  # pixels of a reference
NO_MATCH = "nothing corresponds to the reference"
GREY = 3.0
"""Mean chroma in LAB units below which a reference is grey."""


def read_references(given: Path) -> tuple[Reference, ...]:
    """Read a file, or all images of a folder, as `read_reference` does."""
    files = [given / name for name in list_images(given)] if given.is_dir() else [given]
    if not files:
        raise UsageError(f"the reference {given} has no images")
    return tuple(map(read_reference, files))


def read_reference(file: Path, most: int = _MOST) -> Reference:
    """Read a reference.

    Raises:
        UsageError: If the file is not a still image, smaller than 16 pixels, larger than `most`
            pixels, or grey.
    """
    try:
        with opened(read_bytes(file), file, Limits(2**62, math.inf)) as image:
            if getattr(image, "is_animated", False) and image.format not in ("MPO", "TIFF"):
                raise ValueError("animated; give a still image")
            if image.width * image.height > most:
                raise ValueError(f"{image.width} x {image.height} pixels; reduce it")
            image.draft(image.mode, (_SIDE, _SIDE))
            rgb = from_pillow(image)
        return to_reference(rgb, str(file))
    except ImageError as error:
        raise UsageError(f"the reference {error}") from None


def to_reference(rgb: Tensor, name: str = "image") -> Reference:
    """Reduce an image, (3, H, W), uint8, to a reference; raises UsageError as `read_reference`."""
    if min(rgb.shape[-2:]) < _LEAST:
        raise UsageError(f"the reference {name} is smaller than {_LEAST} pixels")
    _network()  # before threads need it
    rgb = resize_short_side(limit_length(rgb), min(_SIDE, *rgb.shape[-2:]))
    if _is_grey(rgb):
        raise UsageError(f"the reference {name} is grey; give a color photograph")
    return Reference(name, rgb)


def _is_grey(rgb: Tensor) -> Tensor:
    _, ab = to_lab(to_unit(rgb[None]))
    chroma: Tensor = ab.norm(dim=1).mean()
    return chroma < GREY


def with_references(control: Control, seen: Tensor) -> Control:
    """Return a control whose hints are the references', and the painted ones.

    `seen` is the network's input, (3, h, w) in uint8.
    """
    if not control.references:
        return control
    alike = hints_like(control.references, seen)
    if control.hints is None:
        return replace(control, hints=alike)
    painted = resize_hints(control.hints, seen.shape[-2:])
    reach = min(seen.shape[-2:]) // _AROUND
    near = F.max_pool2d(painted[:, 2:], 2 * reach + 1, stride=1, padding=reach)
    hints = torch.where(painted[:, 2:] > 0, painted, alike * (near == 0))
    return replace(control, hints=hints[0])


def is_followed(control: Control) -> bool:
    """Return whether a result of `with_references` has colors of a reference."""
    mask = torch.as_tensor(control.hints)[2] if control.references else torch.zeros(1)
    return bool(((mask > 0) & (mask < 1)).any())


def hints_like(references: Sequence[Reference], seen: Tensor) -> Tensor:
    """Return the references' colors where an image corresponds to them, as hints.

    Two images correspond where encoder features of their lightness, of three scales, are mutual
    nearest neighbors (as in He et al. 2018, "Deep Exemplar-based Colorization"), and where their
    neighbors do. Features are averaged with the mirror image's. The encoder is the bundled model's,
    whatever model colors. Colors of several references are averaged, mostly the most similar one's.

    Args:
        references: The references.
        seen: (3, h, w), uint8: the network's input.

    Returns:
        (3, h, w) as `hints_from` returns, with the confidence as the mask.
    """
    height, width = seen.shape[-2:]
    small = resize_short_side(seen, seen_side(height, width, _SIDE))
    own, columns = _features(small)
    total, colors = torch.zeros(own.shape[1]), torch.zeros(2, own.shape[1])
    for reference in references:
        similar, theirs = _correspondences(own, columns, *_features_of(reference.rgb))
        weight = reference.weight * (similar * _SHARPNESS).exp() * (similar > 0)
        total, colors = total + weight, colors + weight * theirs
    found = total.nonzero()[:, 0]
    colors = colors / total.clamp(min=1)
    scale = seen.shape[-1] / small.shape[-1]
    row, column = (
        ((each + 0.5) * _CELL * scale).long().clamp(max=side - 1)
        for each, side in zip((found // columns, found % columns), seen.shape[-2:], strict=True)
    )
    hints = torch.zeros(3, *seen.shape[-2:])
    hints[:2, row, column], hints[2, row, column] = colors[:, found], CONFIDENCE
    return hints


def _correspondences(
    own: Tensor, columns: int, other: Tensor, other_columns: int, colors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each cell's similarity to the corresponding one, 0 without any, and its ab."""
    similar = own.T @ other
    best, index = similar.max(dim=1)
    mutual = similar.argmax(dim=0)[index] == torch.arange(index.shape[0])
    found = mutual & (best > _SIMILAR)
    # Correspondences of things have neighbors that lie near one another in the reference, too.
    row = index // other_columns
    places = torch.stack([row, index - row * other_columns]).float()
    places = places.masked_fill(~found, torch.nan).view(2, -1, columns)
    around = F.unfold(F.pad(places[None], [1] * 4, value=torch.nan), 3).view(2, 9, -1)
    near = (around - around[:, 4:5]).abs().amax(0) <= _NEAR
    found = near.sum(0) > _NEIGHBORS
    return best * (found & (found.sum() >= _FEWEST)), colors[:, index]


def _described(rgb: Tensor) -> tuple[Tensor, int, Tensor]:
    """Return a reference's features and columns, and the mean ab of each cell."""
    _, ab = to_lab(to_unit(rgb[None]))
    colors = F.avg_pool2d(ab, _CELL, ceil_mode=True, count_include_pad=False)[0].flatten(1)
    return *_features(rgb), colors


_features_of = lru_cache(maxsize=64)(_described)  # a reference of all frames or images


@torch.inference_mode()
def _features(rgb: Tensor) -> tuple[Tensor, int]:
    """Return unit features of an image, (C, cells), and the number of columns of cells."""
    network = _network()
    height, width = rgb.shape[-2:]
    padded = [round_up(side, network.multiple) for side in (height, width)]
    L = pad_input(to_lightness(rgb[None]), *padded) / 50 - 1
    rows, columns = (round_up(side, _CELL) // _CELL for side in (height, width))
    both = network.encoder(torch.cat([L, L.flip(-1)]))
    parts = []
    for level, reduction in zip(both, network.encoder.info.reductions, strict=True):
        if reduction in _REDUCTIONS:
            level = F.interpolate(level, [side // _CELL for side in padded], mode="bilinear")
            level = ((level[0] + level[1].flip(-1)) / 2)[:, :rows, :columns].flatten(1)
            parts.append(F.normalize(level - level.mean(dim=1, keepdim=True), dim=0))
    return F.normalize(torch.cat(parts), dim=0), columns


@cache
@torch.inference_mode(False)  # whoever asks first: weights made in that mode are not traced
def _network() -> ColorizationNetwork:
    model = load_model(BUNDLED[DEFAULT])
    assert isinstance(model, NetworkModel)
    return model.network


class Correspondences(nn.Module):
    """Maps an image and a reference, (1, 3, H, W) in uint8, to hints, for a graph.

    Both have a short side of at most 128 pixels. See `hints_like`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = _network()

    def forward(self, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return hints of cells, (1, 3, h, w), and whether the reference is grey."""
        own, columns = _features(image[0])
        similar, colors = _correspondences(own, columns, *_described(reference[0]))
        hints = torch.cat([colors, torch.full_like(colors[:1], CONFIDENCE)]) * (similar > 0)
        return hints.view(1, 3, -1, columns), _is_grey(reference[0])
