"""Answers the page on which a person paints colors: colorings with hints, and probable colors."""

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference.reference import (
    NO_MATCH,
    is_followed,
    to_reference,
    with_references,
)
from lightning_colorize.models.base import Model
from lightning_colorize.models.control import Control, Reference
from lightning_colorize.models.image import BatchPrediction, add_colors, network_input, predict
from lightning_colorize.models.network import NetworkModel

_Share = Annotated[float, Field(ge=0, le=1)]
_Side = Annotated[int, Field(ge=1)]


class _Asked(BaseModel, extra="forbid", strict=True):
    """The first line of a request, as JSON.

    RGBA of the image and of the reference follow, then a, b and mask of the hints, (3, rows,
    columns), as signed bytes.
    """

    width: _Side  # of the image
    height: _Side
    rows: _Side  # of the hints
    columns: _Side
    # Which colorings to return; empty for none.
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=4)]
    # Place whose probable colors to return, from top and left, as shares of the sides.
    at: tuple[_Share, _Share] | None
    reference: tuple[_Side, _Side] | None = None  # width and height


def page_settings(model: Model) -> dict[str, Any]:
    """Return what the page needs to know of a model."""
    accepted = {name: name in model.conditions for name in ("hints", "reference")}
    return {"size": model.size, "draws": model.draws, **accepted}


@torch.inference_mode()
def answer(model: Model, request: bytes, max_pixels: int) -> bytes:
    """Return the answer to a request of the page.

    Args:
        model: The model.
        request: See `_Asked`.
        max_pixels: Maximum number of pixels of the image.

    Returns:
        A line of JSON: `candidates`, the probable colors as [a, b, share], and why the reference is
        `refused`, if so; then RGBA of the images.

    Raises:
        ValueError: If the request is malformed.
    """
    head, _, pixels = request.partition(b"\n")
    asked = _Asked.model_validate_json(head)
    if asked.height * asked.width > max_pixels:
        raise ValueError("too many pixels")
    size = 4 * asked.height * asked.width
    image, pixels = _image(pixels[:size], asked.width, asked.height), pixels[size:]
    seen = network_input(image[:3], model.size)
    references, refused = [], ""
    if asked.reference:
        size = 4 * math.prod(asked.reference)
        try:
            references = [_reference(pixels[:size], *asked.reference)]
        except UsageError as error:
            refused = str(error)
        pixels = pixels[size:]
    planes = np.frombuffer(bytearray(pixels), np.int8).reshape(1, 3, asked.rows, asked.columns)
    # The page may have reduced the image to sides whose input differs by a pixel.
    hints = F.interpolate(torch.from_numpy(planes).float(), seen.shape[-2:])[0]
    control = Control(hints=hints if hints.any() else None, references=references)
    control.require_accepted(model)
    control = with_references(control, seen)
    if references and not is_followed(control):
        refused = NO_MATCH
    prediction = predict(model, [seen], controls=[control])
    candidates = [] if asked.at is None else _candidates(prediction, asked.at)
    parts = [json.dumps({"candidates": candidates, "refused": refused}).encode(), b"\n"]
    for seed in asked.seeds:
        # The same noise for each size of an image.
        (ab,) = prediction.colors(generators=[torch.Generator().manual_seed(seed)])
        colored = torch.cat([add_colors(image[:3], ab), image[3:]])
        parts.append(colored.permute(1, 2, 0).numpy().tobytes())
    return b"".join(parts)


def _image(rgba: bytes, width: int, height: int) -> Tensor:
    """Return an image, (4, H, W)."""
    pixels = np.frombuffer(bytearray(rgba), np.uint8).reshape(height, width, 4)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@lru_cache(maxsize=8)  # each stroke asks for the same one, whose features are kept
def _reference(rgba: bytes, width: int, height: int) -> Reference:
    return to_reference(_image(rgba, width, height)[:3])


def _candidates(prediction: BatchPrediction, at: Sequence[float]) -> list[list[float]]:
    """Return the colors that a place may have: a and b in LAB units, and the share of each."""
    model, (size,) = prediction.model, prediction.sizes
    row, column = (min(int(share * side), side - 1) for share, side in zip(at, size, strict=True))
    if isinstance(model, NetworkModel) and model.bins is not None:
        shares = model.shares(prediction.views[0])[-1, :, row // 4, column // 4, None]
        # As they would be shown, in the range of the page's signed bytes.
        colors = (model.bins.centers * model.settings.strength).clamp(-127, 127)
        return torch.cat([colors, shares], 1).tolist()
    (ab,) = prediction.colors()
    return [[*ab[0, :, row, column].tolist(), 1.0]]
