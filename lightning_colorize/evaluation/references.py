"""References that measure how a model follows them: an image itself, changed, and others."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch, to_rgb
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.inference.reference import hints_like, to_reference
from lightning_colorize.models.control import Reference

_TONE = (0.9, 0.87, 0.82)  # shares of red, green and blue in another frame
_AROUND = 16  # this share of the short side around a correspondence corresponds, too

References = list[list[Reference]]
"""The reference of each image; empty if it has none, or a grey one."""


def find_references(
    batches: Iterable[ColorBatch], folder_of: Callable[[str], str]
) -> dict[str, References]:
    """Return the references of images by row; `folder_of` maps an image's name to its folder.

    Another image of a folder is the next one. An unrelated image is sought in other folders, from
    half-way round the set; if there is one folder, it is the image there.
    """
    own: References = []
    folders: list[str] = []
    for batch in batches:
        own += map(_reference, _eight_bits(batch))
        folders += map(folder_of, batch.names)
    codes, count = np.unique(folders, return_inverse=True)[1], len(own)

    def changed(change: Callable[[Tensor], Tensor]) -> References:
        return [[replace(one, rgb=change(one.rgb)) for one in each] for each in own]

    def other(index: int, wanted: np.ndarray, start: int) -> list[Reference]:
        found = (start + int(np.roll(wanted, -start).argmax())) % count
        return own[found] if found != index else []

    alike = [other(i, codes == code, i + 1) for i, code in enumerate(codes)]
    rows = {"the image itself": own, "its mirror image": changed(lambda rgb: rgb.flip(-1))}
    rows["another frame"] = changed(_frame)
    if any(alike) and {*folders} != {"."}:
        rows["another of its folder"] = alike
    unlike = [other(i, codes != code, i + count // 2) for i, code in enumerate(codes)]
    return rows | {"an unrelated image": unlike}


def hints_of(batch: ColorBatch, references: References) -> tuple[Tensor, Tensor]:
    """Return the references' hints, (B, 3, H, W), and 1 near a correspondence, (B, 1, H, W)."""
    pairs = zip(references, _eight_bits(batch), strict=True)
    hints = torch.stack([hints_like(each, rgb) for each, rgb in pairs]).to(batch.L.device)
    reach = min(hints.shape[-2:]) // _AROUND
    near = F.max_pool2d((hints[:, 2:] > 0).float(), 2 * reach + 1, stride=1, padding=reach)
    return hints, near


def _eight_bits(batch: ColorBatch) -> Tensor:
    return (to_rgb(batch.L, batch.ab) * 255).round().byte().cpu()


def _reference(rgb: Tensor) -> list[Reference]:
    try:
        return [to_reference(rgb)]
    except UsageError:  # grey
        return []


def _frame(rgb: Tensor) -> Tensor:
    """Return the lower right 80 % of a square image, enlarged, darker and slightly warmer."""
    side = rgb.shape[-1]
    nearer = resize_short_side(rgb[:, side // 5 :, side // 5 :], side)
    return (nearer * torch.tensor(_TONE).view(3, 1, 1)).round().byte()
