"""Answers the page on which a person paints colors: colorings with hints, and probable colors."""

import json
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from lightning_colorize.models.base import LARGEST, Model
from lightning_colorize.models.control import NO_CONTROL, Control
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.whole import BatchPrediction, add_colors, network_input, predict
from lightning_colorize.networks import ClassificationHead

CANDIDATES = 8
"""Number of samples of which a place's colors are offered."""

_Side = Annotated[int, Field(ge=1, le=LARGEST)]


class _Asked(BaseModel, extra="forbid", strict=True):
    """The first line of a request, as JSON; RGBA of the image and of the hints follow it.

    Attributes:
        width: Width of the image.
        height: Height of the image.
        columns: Width of the network's input, and of the hints.
        rows: Height of the network's input, and of the hints.
        seeds: Which colorings to return; empty for none.
        at: Row and column of the hints whose probable colors to return.
    """

    width: _Side
    height: _Side
    columns: _Side
    rows: _Side
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=4)]
    at: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None


def page_settings(model: Model) -> dict[str, Any]:
    """Return what the page needs to know of a model."""
    return {
        "size": model.size,
        "hints": "hints" in model.conditions,
        "draws": model.draws,
        "candidates": CANDIDATES,
    }


def bin_centers_of(model: Model) -> Tensor | None:
    """Return the centers of a classification's bins, (313, 2) in LAB units; None for others."""
    head = model.network.head if isinstance(model, NetworkModel) else None
    return head.bins.centers if isinstance(head, ClassificationHead) else None


@torch.inference_mode()
def paint(model: Model, request: bytes, max_pixels: int) -> bytes:
    """Return the answer to a request of the page.

    Args:
        model: The model.
        request: See `_Asked`.
        max_pixels: Maximum number of pixels of the image and of the hints.

    Returns:
        A line of JSON: `candidates`, the probable colors as [a, b, share]; then RGBA of the images.

    Raises:
        ValueError: If the request is malformed.
    """
    head, _, pixels = request.partition(b"\n")
    asked = _Asked.model_validate_json(head)
    shapes = (asked.height, asked.width, 4), (asked.rows, asked.columns, 4)
    counts = [height * width for height, width, _ in shapes]
    if max(counts) > max_pixels or len(pixels) != 4 * sum(counts):
        raise ValueError("too many pixels, or too few")
    image, hints = (
        torch.from_numpy(np.frombuffer(part, np.uint8).reshape(shape)).permute(2, 0, 1)
        for part, shape in zip(
            (pixels[: 4 * counts[0]], pixels[4 * counts[0] :]), shapes, strict=True
        )
    )
    control = Control(hints=hints) if hints[3].any() else NO_CONTROL
    control.require_accepted(model)
    prediction = predict(model, [network_input(image[:3], model.size)], controls=[control])
    candidates = [] if asked.at is None else _candidates(prediction, *asked.at)
    parts = [json.dumps({"candidates": candidates}).encode(), b"\n"]
    for seed in asked.seeds:
        # The same noise for each size of an image.
        (ab,) = prediction.colors(generators=[torch.Generator().manual_seed(seed)])
        colored = torch.cat([add_colors(image[:3], ab), image[3:]])
        parts.append(colored.permute(1, 2, 0).numpy().tobytes())
    return b"".join(parts)


def _candidates(prediction: BatchPrediction, row: int, column: int) -> list[list[float]]:
    """Return the colors that a place may have: a and b in LAB units, and the share of each."""
    model, centers = prediction.model, bin_centers_of(prediction.model)
    if centers is not None and isinstance(model, NetworkModel):
        shares = model.shares(prediction.views[0])
        assert shares is not None
        row, column = min(row // 4, shares.shape[2] - 1), min(column // 4, shares.shape[3] - 1)
        found: list[list[float]] = torch.cat([centers, shares[0, :, row, column, None]], 1).tolist()
        return found
    count = CANDIDATES if model.draws else 1
    (ab,) = prediction.colors(n=count, generators=[torch.Generator().manual_seed(0)])
    row, column = min(row, ab.shape[2] - 1), min(column, ab.shape[3] - 1)
    return [[*color, 1 / count] for color in ab[:, :, row, column].tolist()]
