"""Augmentation of training images on the device, with parameters drawn on the CPU."""

import math
import zlib
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, to_grey, to_lab, to_unit
from lightning_colorize.common.errors import require_option
from lightning_colorize.data.damage import damaged
from lightning_colorize.data.device.transfer import to_device

# Of color jitter: the largest hue rotation in degrees and the largest chroma factor.
_HUE, _CHROMA = 10.0, 1.25


class Draw(NamedTuple):
    """Random parameters for a batch of B images.

    Attributes:
        affine: (B, 2, 3), fp32: maps a pixel (x, y, 1) of the output to the input image, in
            `grid_sample`'s -1..1 from edge to edge. None: no geometric change.
        grey: (B, 5), fp32: whether the grey is jittered (1 or 0), weights of red, green and blue,
            gamma. None: no jitter.
        color: (B, 2), fp32: a vector (x, y) whose length multiplies the chroma and whose angle is
            added to the hue; (1, 0) changes nothing. None: no jitter.
        own: (B,), fp32: each image's own weight; the rest is the previous image's of the batch.
            None: no mixup.
    """

    affine: Tensor | None
    grey: Tensor | None
    color: Tensor | None
    own: Tensor | None

    def to(self, device: torch.device) -> "Draw":
        """Return the parameters on a device, after one copy that the host does not wait for."""
        given = [t for t in self if t is not None]
        if device.type == "cpu" or not given:
            return self
        together = to_device(torch.cat([t.flatten() for t in given]), device)
        parts = iter(torch.split(together, [t.numel() for t in given]))
        return Draw(*(None if t is None else next(parts).view_as(t) for t in self))


_PROBABILITIES = ("flip", "grey_jitter", "blur", "grain", "jpeg", "aging", "color_jitter", "mixup")


@dataclass(frozen=True)
class AugmentationOptions:
    """How training images are augmented.

    Args:
        flip: Probability of a horizontal flip.
        crop_scale: Range of the random crop's area as a share of the image's; null resizes without
            a crop.
        crop_ratio: Range of the random crop's width over height.
        rotation: Largest rotation to either side in degrees; reflection fills the corners.
        grey_jitter: Probability of random RGB-to-grey weights, which simulate film sensitivity.
        blur: Probability of a blurred grey image; the true colors are unchanged.
        grain: Probability of film grain in the grey image.
        jpeg: Probability of JPEG compression of the grey image.
        aging: Probability of halation, scratches and faded contrast of the grey image.
        color_jitter: Probability of jittering the target: hue by up to 10 degrees, chroma by 0.8 to
            1.25, L unchanged.
        mixup: Probability of mixing an image and its colors with another of the batch.

    Raises:
        UsageError: If an option is out of range.
    """

    flip: float = 0.5
    crop_scale: tuple[float, float] | None = (0.6, 1.0)
    crop_ratio: tuple[float, float] = (0.8, 1.25)
    rotation: float = 0.0
    grey_jitter: float = 0.0
    blur: float = 0.0
    grain: float = 0.0
    jpeg: float = 0.0
    aging: float = 0.0
    color_jitter: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        option = "data.augmentation"
        for name in _PROBABILITIES:
            share = getattr(self, name)
            require_option(f"{option}.{name}", share, "from 0 to 1", 0 <= share <= 1)
        valid = 0 <= self.rotation <= 180
        require_option(f"{option}.rotation", self.rotation, "from 0 to 180 degrees", valid)
        for name, most in (("crop_scale", 1.0), ("crop_ratio", math.inf)):
            if (limits := getattr(self, name)) is not None:
                valid = 0 < limits[0] <= limits[1] <= most and limits[1] < math.inf
                ends = "" if most == math.inf else f" and at most {most:g}"
                accepted = f"[from, to], above 0{ends}, the smaller number first"
                require_option(f"{option}.{name}", list(limits), accepted, valid)


def nest_augmentation(config: Any) -> Any:
    """Return a configuration with the augmentation of `data` in its own mapping.

    Older runs have its options among the others of `data`.
    """
    data = config.get("data") if isinstance(config, dict) else None
    if not isinstance(data, dict):
        return config
    names = {field.name for field in fields(AugmentationOptions)} & data.keys()
    if not names:
        return config
    others = {name: value for name, value in data.items() if name not in names}
    augmentation = {name: data[name] for name in names} | others.get("augmentation", {})
    return {**config, "data": {**others, "augmentation": augmentation}}


class Augmentation(nn.Module):
    """Random flip, rotation and crop, then jitter of color and grey.

    A real black-and-white photograph is not the L of a color photograph: film has its own spectral
    sensitivity (orthochromatic film hardly records red) and prints have their own tone curve. Grey
    jitter draws both at random for L and leaves the true colors as they are. `damage` is for L too,
    after the conversion; the caller applies it.

    Color jitter changes the true colors and leaves L as it is: a hue rotation and a chroma factor
    for the whole image. Chroma outside sRGB is reduced as in `fit_gamut`.

    Mixup (Hongyi Zhang et al. 2018) replaces L and ab of an image by a weighted mean with those of
    another one of the batch, so that the network can memorize neither. The image's own weight is
    1/2 to 1, and its label stays. Some colors are slightly outside sRGB.

    Parameters are drawn on the CPU, so a seed gives the same images on every device. The geometry
    is one interpolation, without matrix products (which TF32 would round), and a compiler can fuse
    it with the LAB conversion.

    Args:
        size: Height and width of the augmented images in pixels.
        options: Probabilities and ranges.
    """

    def __init__(self, size: int, options: AugmentationOptions) -> None:
        super().__init__()
        self.size = size
        o = self.options = options
        self.moves = bool(o.flip or o.rotation or o.crop_scale)
        self.damage = partial(damaged, blur=o.blur, grain=o.grain, jpeg=o.jpeg, aging=o.aging)

    def forward(self, rgb: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Augment and convert (B, 3, H, W), uint8 in 0..255 or floating point in 0..1.

        Returns L: (B, 1, size, size) in [0, 100] and ab: (B, 2, size, size) in LAB units, both
        fp32. `draw` is on the same device.
        """
        moved = self.geometry(rgb, draw.affine)
        L, ab = to_lab(moved)
        if draw.color is not None:
            ab = _recolored(L, ab, draw.color)
        if draw.grey is not None:
            L = _jittered(moved, L, draw.grey)
        if draw.own is not None:
            own = draw.own[:, None, None, None]
            L, ab = (x.roll(1, dims=0).lerp(x, own) for x in (L, ab))
        return L, ab

    def draw(self, shape: torch.Size) -> Draw:
        """Draw parameters for a batch of (B, 3, H, W) from torch's CPU generator."""
        o = self.options
        return Draw(
            self._draw_affine(shape) if self.moves else None,
            _draw_grey(shape[0], o.grey_jitter) if o.grey_jitter else None,
            _draw_color(shape[0], o.color_jitter) if o.color_jitter else None,
            _draw_own(shape[0], o.mixup) if o.mixup else None,
        )

    def geometry(self, rgb: Tensor, affine: Tensor | None) -> Tensor:
        """Flip, rotate and crop (B, 3, H, W), uint8 in 0..255 or floating point in 0..1.

        Returns (B, 3, size, size), fp32, in 0..1. `affine` is as in `Draw`.
        """
        moved = to_unit(rgb)
        size = (self.size, self.size)
        if affine is not None:
            height, width = size if self.options.crop_scale else rgb.shape[-2:]
            x = torch.arange(width, dtype=torch.float32, device=rgb.device)[:, None]
            y = torch.arange(height, dtype=torch.float32, device=rgb.device)[:, None, None]
            along_x, along_y, shift = affine[:, None, None].unbind(dim=-1)
            grid = along_x * x + along_y * y + shift
            moved = F.grid_sample(
                moved, grid, mode="bilinear", padding_mode="reflection", align_corners=False
            )
        if moved.shape[-2:] != size:
            moved = F.interpolate(moved, size, mode="bilinear", antialias=True)
        return moved.clamp(0.0, 1.0)

    def _draw_affine(self, shape: torch.Size) -> Tensor:
        """Draw flip, rotation and crop, in this order, and return `Draw.affine`.

        The draws are those of kornia's augmentations, for the whole batch at once.
        """
        count, _, height, width = shape
        o, sides = self.options, np.array([width, height])
        flipped = _drawn(count, o.flip).numpy()
        angle = torch.empty(count).uniform_(-o.rotation, o.rotation) if o.rotation else None
        # Rows that map a pixel (x, y, 1) of the output to the input: crop, rotation, then flip.
        affine = np.zeros((count, 2, 3))
        affine[:, (0, 1), (0, 1)] = 1
        if o.crop_scale:
            corner, extent = _draw_crop(shape, o.crop_scale, o.crop_ratio)
            affine[:, (0, 1), (0, 1)] = (extent - 1) / max(1, self.size - 1)
            affine[:, :, 2] = corner
        if angle is not None:
            radians = np.deg2rad(angle.numpy().astype(np.float64))
            sine, cosine, middle = np.sin(radians), np.cos(radians), (sides - 1) / 2
            affine[:, :, 2] -= middle
            affine = np.einsum("ijb, bjk -> bik", [[cosine, sine], [-sine, cosine]], affine)
            affine[:, :, 2] += middle
        affine[flipped, 0] *= -1
        affine[flipped, 0, 2] += width - 1
        # grid_sample counts from the edge of a pixel, the rows from its center.
        affine *= (2 / sides)[:, None]
        affine[:, :, 2] += 1 / sides - 1
        return torch.from_numpy(affine).float()


def old_copy(rgb: Tensor) -> Tensor:
    """Return a grey copy of an image that looks like an old photograph, (3, H, W), uint8.

    It has the response of a random film and is an aged print; with a probability of 1/2 each, it is
    blurred, grainy, and compressed. Equal images have equal copies. Results of protocols depend on
    every number here.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(zlib.crc32(rgb.cpu().numpy().tobytes()))
        unit = to_unit(rgb[None].cpu())
        L = _jittered(unit, to_lab(unit)[0], _draw_grey(1, 1.0))
        L = damaged(L, blur=0.5, grain=0.5, jpeg=0.5, aging=1.0)
    return (to_grey(L)[0] * 255).round().byte()


def _drawn(count: int, share: float) -> Tensor:
    """Draw whether each image is chosen, with a probability of `share`: (count,), bool."""
    return torch.full((count,), bool(share)) if share in (0, 1) else torch.rand(count) < share


def _draw_crop(
    shape: torch.Size, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw crops of (B, 3, H, W): left and top, width and height in pixels, each (B, 2), fp64.

    As torchvision's RandomResizedCrop: the first of ten draws that fits into the image, otherwise
    the center.
    """
    count, _, height, width = shape
    area = torch.empty(count, 10).uniform_(*scale).numpy() * height * width
    proportion = torch.empty(count, 10).uniform_(*map(math.log, ratio)).exp().numpy()
    drawn = np.sqrt([area * proportion, area / proportion]).round().transpose(1, 2, 0)
    fits = np.all((drawn > 0) & (drawn <= (width, height)), axis=2)
    first = drawn[np.arange(count), fits.argmax(axis=1)].astype(np.float64)
    center = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    extent = np.where(fits.any(axis=1, keepdims=True), first, center)
    position = torch.stack([torch.rand(count), torch.rand(count)], dim=1).numpy()
    return np.floor(position * ((width, height) - extent + 1)), extent


_WEIGHTS = torch.distributions.Dirichlet(torch.full((3,), 2.0), validate_args=False)


def _draw_grey(count: int, share: float) -> Tensor:
    """Draw `Draw.grey`; a share of the images is jittered."""
    drawn = torch.rand(count) < share
    # Dirichlet(2, 2, 2): any weights of the channels, single channels the rarest.
    weights = _WEIGHTS.sample((count,))
    gamma = torch.empty(count).uniform_(-0.35, 0.35).exp()
    return torch.cat([drawn.float()[:, None], weights, gamma[:, None]], dim=1)


def _draw_color(count: int, share: float) -> Tensor:
    """Draw `Draw.color`; a share of the images is jittered."""
    drawn = torch.rand(count) < share
    hue, chroma = torch.empty(2, count).uniform_(-1.0, 1.0) * drawn
    return torch.view_as_real(torch.polar(_CHROMA**chroma, math.radians(_HUE) * hue))


def _draw_own(count: int, share: float) -> Tensor:
    """Draw `Draw.own`; a share of the images is mixed."""
    return torch.where(torch.rand(count) < share, torch.empty(count).uniform_(0.5, 1.0), 1.0)


def _recolored(L: Tensor, ab: Tensor, draw: Tensor) -> Tensor:
    """Return ab, (B, 2, H, W), in gamut, turned and scaled by (B, 2), as in `Draw.color`."""
    x, y = draw[:, :, None, None].unbind(dim=1)
    a, b = ab.unbind(dim=1)
    return fit_gamut(L, torch.stack([x * a - y * b, y * a + x * b], dim=1))


def _jittered(rgb: Tensor, L: Tensor, draw: Tensor) -> Tensor:
    """Return L, (B, 1, H, W) in [0, 100], with the drawn images' grey replaced.

    `rgb` is (B, 3, H, W), fp32, in 0..1, and `draw` is (B, 5), as in `Draw`.
    """
    drawn, weights, gamma = draw[:, :, None, None].tensor_split([1, 4], dim=1)
    grey = (rgb * weights).sum(dim=1, keepdim=True).clamp(0.0, 1.0) ** gamma
    jittered, _ = to_lab(grey.expand(-1, 3, -1, -1))
    return torch.where(drawn > 0.5, jittered, L)
