"""Colorizing whole images of any size with any model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import (
    WHITE,
    Condition,
    to_eight_bits,
    to_grey,
    to_lab,
    to_lightness,
    to_rgb_in_gamut,
)
from lightning_colorize.data.dataset import LONGEST, resize_short_side
from lightning_colorize.models.base import Model
from lightning_colorize.models.control import NO_CONTROL, Control, condition_of
from lightning_colorize.models.settings import Settings
from lightning_colorize.networks.network import pad_input, round_up

# Full-resolution conversion works in strips: all of 12 megapixels would take 1.9 GB, and three
# times as long, because nothing fits into the processor's cache.
_STRIP_PIXELS = 2**18

# Radius of the guided filter in pixels at the network's size, and the variance of L below which an
# area counts as flat.
_RADIUS = 4
_SMOOTHNESS = 5.0

_TONED = 5.0  # LAB units


def colorize_image(
    model: Model,
    rgb: Tensor,
    size: int | None = None,
    control: Control = NO_CONTROL,
    seed: int = 0,
) -> Tensor:
    """Colorize one image; its lightness is unchanged, at full resolution.

    Args:
        model: The model with its current settings.
        rgb: (3, H, W), uint8 or uint16; its color is discarded by the same conversion as in
            training.
        size: Short side of the model's input in pixels; the model's by default.
        control: Conditions that the model accepts.
        seed: Seed of a model that samples.

    Returns:
        The same shape and dtype, on the CPU.

    Raises:
        FloatingPointError: If the predicted colors are not finite.
    """
    seen = network_input(rgb, size or model.size)
    predicted = predict(model, [seen], controls=[control])
    (ab,) = predicted.colors(generators=model.generators(predicted.inputs, seed))
    return add_colors(rgb, ab)


def network_input(rgb: Tensor, size: int) -> Tensor:
    """Resize an image to the model's input size: (3, h, w), uint8, on the CPU.

    `rgb` is (3, H, W), uint8 or uint16; `size` is the short side in pixels, see `seen_side`.
    """
    height, width = rgb.shape[-2:]
    return resize_short_side(to_eight_bits(rgb), seen_side(height, width, size))


def padded_size(model: Model, seen: Tensor) -> tuple[int, int]:
    """Return the height and width to which an input is padded.

    Inputs with the same padded size can share a batch.
    """
    height, width = (round_up(side, model.multiple) for side in seen.shape[-2:])
    return height, width


@dataclass(frozen=True)
class BatchPrediction:
    """The predictions for images of one padded size, which can be decoded several times."""

    model: Model
    inputs: Tensor
    views: Sequence[Any]
    sizes: Sequence[torch.Size]
    condition: Condition
    flip: bool
    strength: float  # of the settings that the views were predicted for

    @torch.inference_mode()
    def colors(
        self,
        settings: Settings | None = None,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> list[Tensor]:
        """Return the colorings of each image.

        Args:
            settings: Settings; by default the model's current ones. `flip` has no effect.
            n: Number of colorings.
            generators: One per image, for a model that samples; by default with seed 0.

        Returns:
            ab of each image: (n, 2, h, w) in LAB units, fp32, on the model's device.

        Raises:
            FloatingPointError: If a color is not finite.
            UsageError: If more than one coloring is requested from a deterministic model.
        """
        model, views = self.model, self.views
        settings = settings or model.settings
        generators = generators or model.generators(self.inputs)
        if self.condition.has_colors and settings.strength != self.strength:
            views = model.ask(self.inputs, self.condition, settings, self.flip)
        batch = model.answer(views, self.inputs, self.condition, settings, n, generators)
        if not batch.isfinite().all():
            raise FloatingPointError("the network predicts colors that are not finite")
        pairs = enumerate(self.sizes)
        return [batch[:, index, :, :height, :width] for index, (height, width) in pairs]


@torch.inference_mode()
def predict(
    model: Model,
    seen: Sequence[Tensor],
    flip: bool | None = None,
    controls: Sequence[Control] = (),
) -> BatchPrediction:
    """Predict images from `network_input` that share a `padded_size`.

    `flip` also predicts the mirror images; by default as in the model's settings. `controls` are
    one per image, or empty.
    """
    padded = padded_size(model, seen[0])
    lightness = (to_lightness(image.unsqueeze(0).to(model.device)) for image in seen)
    # Pad here and not in the network, which would pad the mirror image at its own right edge.
    inputs = torch.cat([pad_input(L, *padded) for L in lightness])
    sizes = [image.shape[-2:] for image in seen]
    given, settings = condition_of(model, controls, sizes, padded), model.settings
    flip = settings.flip if flip is None else flip
    views = model.ask(inputs, given, settings, flip)
    return BatchPrediction(model, inputs, views, sizes, given, flip, settings.strength)


@torch.inference_mode()
def is_colored(rgb: Tensor) -> bool:
    """Return whether a small image has several hues, so is neither grey nor toned, such as sepia.

    A tone is one color per lightness, modeled as a cubic polynomial from L to ab. The image,
    (3, h, w), uint8, is in color if the residual exceeds 5 LAB units in a twentieth of the pixels.
    """
    L, ab = to_lab(rgb.unsqueeze(0))
    powers = torch.stack([(L.flatten() / 100) ** n for n in range(4)], dim=1).double()
    colors = ab[0].flatten(1).T.double()
    # With a small ridge, because all pixels may have the same lightness.
    normal = powers.T @ powers + 1e-6 * len(powers) * torch.eye(4, dtype=torch.float64)
    rest = colors - powers @ torch.linalg.solve(normal, powers.T @ colors)
    return float(rest.norm(dim=1).quantile(0.95)) > _TONED


@torch.inference_mode()
def add_colors(rgb: Tensor, ab: Tensor, guide: Tensor | None = None) -> Tensor:
    """Return an image with its own lightness, at full resolution, and other colors.

    Args:
        rgb: (3, H, W), uint8 or uint16.
        ab: (1, 2, h, w) in LAB units, on the device to use. The chroma of colors outside sRGB is
            reduced at constant lightness and hue.
        guide: (3, h, w), uint8: the model's input. If given, colors follow the edges of the
            lightness (He and Sun 2015, "Fast Guided Filter"); otherwise they are interpolated.

    Returns:
        The same shape and dtype as `rgb`, on the CPU.
    """
    height, width = rgb.shape[-2:]
    colored = torch.empty_like(rgb, device="cpu", memory_format=torch.contiguous_format)
    if guide is not None:
        ab = torch.cat(_lines_of_color(to_lightness(guide.unsqueeze(0).to(ab.device)), ab), dim=1)
    for rows, ab_rows in upsampled_strips(ab, height, width, max(1, _STRIP_PIXELS // width)):
        L = to_lightness(rgb[:, rows].unsqueeze(0).to(ab.device))
        if guide is not None:
            slope, offset = ab_rows.chunk(2, dim=1)
            ab_rows = slope * L + offset
        unit = to_rgb_in_gamut(L, ab_rows)[0]
        colored[:, rows] = (unit * WHITE[rgb.dtype]).round().to(rgb.dtype).cpu()
    return colored


def without_color(rgb: Tensor) -> Tensor:
    """Remove the color of an image, (3, H, W) in uint8, keeping its lightness."""
    return (to_grey(to_lightness(rgb.unsqueeze(0)))[0] * 255).round().byte()


def _lines_of_color(L: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and offset of ab as a linear function of L around each pixel, (1, 2, h, w)."""

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values, [_RADIUS] * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * _RADIUS + 1, stride=1)

    variance = mean(L * L) - mean(L) ** 2
    covariance = mean(L * ab) - mean(L) * mean(ab)
    slope = covariance / (variance + _SMOOTHNESS)
    return mean(slope), mean(mean(ab) - slope * mean(L))


def seen_side(height: int, width: int, size: int) -> int:
    """Return the short side of the network's input in pixels.

    It is `size`, or less for images with an aspect ratio above 4.
    """
    # These functions also accept the symbolic sizes of a graph.
    short, long = torch.sym_min(height, width), torch.sym_max(height, width)
    side = torch.sym_max(1, torch.sym_min(size, LONGEST * size * short // long))
    return cast(int, side)


def upsampled_strips(
    ab: Tensor, height: int, width: int, rows: int
) -> Iterator[tuple[slice, Tensor]]:
    """Resize ab, (1, C, h, w), bilinearly (align_corners=False) in strips of some rows.

    Together they equal `F.interpolate` of the whole image, up to rounding.

    Yields:
        The rows of a strip, and their values: (1, C, up to `rows`, width).
    """
    wide = F.interpolate(ab, (ab.shape[2], width), mode="bilinear", align_corners=False)
    last = ab.shape[2] - 1
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        row = torch.arange(strip.start, strip.stop, device=ab.device, dtype=torch.float64)
        # Pixel centers are at halves; the edge is replicated beyond the outermost ones.
        source = ((row + 0.5) * (ab.shape[2] / height) - 0.5).clamp(0, last)
        above = source.long()
        below = (above + 1).clamp(max=last)
        share = (source - above).to(ab.dtype)[:, None]
        yield strip, torch.lerp(wide[:, :, above], wide[:, :, below], share)
