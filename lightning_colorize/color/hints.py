"""Color hints: simulated from true colors, and diffused over the image."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color.precision import full_precision

_LARGEST = 9  # side of a hint in pixels
_POINTS = 1 / 8  # of the geometric distribution of their number
_REVEALED = 0.01  # share of the images whose colors are all revealed
_CELL = 4  # pixels per cell of the diffused colors
_BINS = 8  # of lightness
_SIDES = (32, 16, 8, 4, 2, 1)  # of the coarser grids

_SURE = 0.9  # confidence of what was painted
_MOST = 256  # cells that are known to the regression; of more, an even choice
_STEPS = 96  # of conjugate gradients
# Covariances of the regression, fitted on validation images: far, between pixels of similar
# lightness and predicted color, and near, with variance 1. Distances are in short sides of the
# image, colors in LAB units.
_FAR, _FAR_DISTANCE, _FAR_L, _FAR_AB = 5.0, 1.0, 26.0, 27.0
_NEAR_DISTANCE, _NEAR_L = 0.13, 27.0
_NOISE = 0.06
# Of simulated references: the share of cells that correspond, the share of these at a wrong place,
# and the standard deviations of saturation and tint.
_FOUND, _WRONG, _CHROMA, _TINT = 0.5, 0.1, 0.1, 3.0
_LITTLE = 0.005  # confidence that counts half

CONFIDENCE = 0.5
"""Confidence of a reference's colors; painted ones have 1."""

CHANNELS = 6
"""Channels of hints as a network's input, see `hint_channels`."""

SPREAD = 20.0
"""LAB units by which these channels are divided: their spread is then about 1."""


class HintPoints(NamedTuple):
    """Positions of hints in a batch.

    Attributes:
        image: (P,), int64: the index of each hint's image.
        center: (P, 2), fp32: row and column of its center, as a share of the image's sides.
        side: (P,), int64: its height and width in pixels.
    """

    image: Tensor
    center: Tensor
    side: Tensor

    @classmethod
    def draw(cls, count: int) -> "HintPoints":
        """Draw hints for `count` images from torch's CPU generator (Zhang et al. 2017).

        Their number has a geometric distribution with p = 1/8, positions are normally distributed
        around the middle of the image, and sides are 1 to 9 pixels.
        """
        numbers = torch.empty(count).geometric_(_POINTS).long()
        image = torch.arange(count).repeat_interleave(numbers)
        center = (0.5 + torch.randn(len(image), 2) / 4).clamp(0, 1)
        return cls(image, center, torch.randint(1, _LARGEST + 1, (len(image),)))

    @classmethod
    def uniform(cls, points: int, images: int, side: int, seed: int) -> "HintPoints":
        """Return `points` hints of `side` pixels in each of some images, at uniform positions.

        The same seed returns the same positions; more points add to them.
        """
        generator = torch.Generator().manual_seed(seed)
        center = torch.rand(points, images, 2, generator=generator).transpose(0, 1).flatten(0, 1)
        image = torch.arange(images).repeat_interleave(points)
        return cls(image, center, torch.full((len(image),), side))


def hints_from(ab: Tensor, points: HintPoints) -> Tensor:
    """Return hints that reveal the mean true color of each point's patch.

    A patch at the border is shifted into the image; where patches overlap, their colors are
    averaged. `ab` is (B, 2, H, W) in LAB units. Returns (B, 3, H, W): ab, 0 without a hint, and the
    mask, 0 or 1.
    """
    count, _, height, width = ab.shape
    image, center, side = (value.to(ab.device) for value in points)
    sides = torch.tensor([height, width], device=ab.device)
    largest = min(_LARGEST, height, width)
    side = side.clamp(max=largest)[:, None]
    first = (center * sides - side / 2).round().long()
    first = torch.minimum(first.clamp(min=0), sides - side)
    offsets = torch.arange(largest, device=ab.device)
    inside = offsets < side  # (P, largest)
    rows, columns = (torch.minimum(first[:, i, None] + offsets, sides[i] - 1) for i in (0, 1))
    patch = (inside[:, :, None] & inside[:, None, :]).to(ab.dtype)[:, None]
    at = (image[:, None, None], slice(None), rows[:, :, None], columns[:, None, :])
    mean = (ab[at].movedim(-1, 1) * patch).sum((2, 3)) / patch.sum((2, 3))
    painted = torch.cat([mean, torch.ones_like(mean[:, :1])], dim=1)[..., None, None] * patch
    sums = ab.new_zeros(count, height, width, 3)
    where = (image[:, None, None].expand_as(patch[:, 0]), rows[:, :, None], columns[:, None, :])
    sums.index_put_(where, painted.movedim(1, -1), accumulate=True)
    mask = sums[..., 2:].clamp(min=1)
    return (sums / mask).movedim(-1, 1)


def simulated_hints(ab: Tensor) -> Tensor:
    """Return `hints_from` points of `HintPoints.draw`, for training; 1 image of 100 is revealed."""
    revealed = (torch.rand(len(ab)) < _REVEALED).to(ab.device)
    hints = hints_from(ab, HintPoints.draw(len(ab)))
    whole = torch.cat([ab, torch.ones_like(ab[:, :1])], dim=1)
    return torch.where(revealed[:, None, None, None], whole, hints)


def simulated_references(ab: Tensor) -> Tensor:
    """Return hints as a reference's correspondences give them, for training.

    In each image, a rectangle of any size corresponds, in half of its cells. Their true colors are
    more or less saturated, with a tint, as in another light; one of ten is of a wrong place.
    Arguments and result are those of `simulated_hints`; the mask is 0 or `CONFIDENCE`.
    """
    cells = F.avg_pool2d(ab, _CELL, ceil_mode=True, count_include_pad=False)
    count, _, *sides = cells.shape

    def inside(side: int) -> Tensor:
        ends = torch.rand(count, 2, 1).sort(dim=1).values * side
        places = torch.arange(side)
        return (places >= ends[:, 0].floor()) & (places <= ends[:, 1])

    rows, columns = map(inside, sides)
    found = rows[:, :, None] & columns[:, None] & (torch.rand(count, *sides) < _FOUND)
    wrong = (torch.rand(count, 1, *sides) < _WRONG).to(ab.device)
    colors = torch.where(wrong, cells.flip(2, 3), cells)
    chroma, tint = 1 + torch.randn(count, 1, 1, 1) * _CHROMA, torch.randn(count, 2, 1, 1) * _TINT
    colors = colors * chroma.to(ab.device) + tint.to(ab.device)
    given = torch.cat([colors, torch.full_like(colors[:, :1], CONFIDENCE)], dim=1)
    hints = ab.new_zeros(count, 3, *ab.shape[2:])
    centers = hints[..., _CELL // 2 :: _CELL, _CELL // 2 :: _CELL]
    given = given * found[:, None].to(ab.device)
    centers.copy_(given[..., : centers.shape[2], : centers.shape[3]])
    return hints


def diffused(hints: Tensor, L: Tensor) -> Tensor:
    """Diffuse the hints' colors to the nearest pixels that have a similar lightness.

    Averages in a grid of position and lightness, from fine to coarse positions, and at last over
    all lightness; each cell takes the finest average that contains a hint (push-pull in the
    bilateral grid of Chen et al. 2007).

    Args:
        hints: (B, 3, H, W) as `hints_from` returns.
        L: (B, 1, H, W) in [0, 100].

    Returns:
        (B, 3, H, W): ab in LAB units, and a confidence that is 1 at hints, halves with each
        coarser grid, and is 0 in images without hints.
    """
    with full_precision(L):
        given = torch.cat([hints[:, :2] * hints[:, 2:], hints[:, 2:], L], dim=1)
        cells = F.avg_pool2d(given, _CELL, ceil_mode=True, count_include_pad=False)
        centers = torch.linspace(0, 100, _BINS, device=L.device).view(1, -1, 1, 1)
        bins = (1 - (cells[:, 3:] - centers).abs() * ((_BINS - 1) / 100)).clamp(min=0)[:, None]
        finest = cells[:, :3, None] * bins
        levels = [finest, *(_sums(finest, side) for side in _SIDES)]
        # For a lightness without any hint.
        color, confidence = _mean(levels[-1].sum(2, keepdim=True).expand_as(levels[-1]))
        for level in reversed(levels):
            own, found = _mean(level)
            coarser = torch.cat([color, confidence], dim=1).flatten(1, 2)
            coarser = F.interpolate(coarser, level.shape[3:], mode="bilinear", align_corners=False)
            coarser = coarser.view(-1, 3, *level.shape[2:])
            color = torch.lerp(coarser[:, :2], own, found)
            confidence = torch.lerp(coarser[:, 2:] / 2, torch.ones_like(found), found)
        spread = (torch.cat([color, confidence], dim=1) * bins).sum(2)
        return F.interpolate(spread, L.shape[-2:], mode="bilinear", align_corners=False)


def hint_channels(hints: Tensor, L: Tensor) -> Tensor:
    """Return hints as the input of a network: a, b and mask, then as `diffused` returns.

    For hints as `hints_from` returns, and L: (B, 1, H, W) in [-1, 1]. Returns (B, 6, H, W), with a
    and b divided by 20, so that their spread is about 1.
    """
    hints = hints.float()
    given = torch.cat([hints[:, :2] * hints[:, 2:], hints[:, 2:]], dim=1)
    spread = diffused(hints, (L.float() + 1) * 50)
    scale = hints.new_tensor([1 / SPREAD, 1 / SPREAD, 1] * 2).view(-1, 1, 1)
    return (torch.cat([given, spread], dim=1) * scale).to(L.dtype)


def _sums(x: Tensor, side: int) -> Tensor:
    """Return the sums of `side` x `side` parts of x, (B, C, n, h, w).

    By matrices, whose size in a graph may depend on the image's.
    """
    rows, columns = (
        F.one_hot(torch.arange(length, device=x.device) * side // length, side).to(x.dtype)
        for length in x.shape[3:]
    )
    return rows.T @ x @ columns


def _mean(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean color of each cell, and from 0 to 1 whether it has any hint."""
    weight = sums[:, 2:]
    return sums[:, :2] / weight.clamp(min=1e-12), (weight * 1e4).clamp(max=1)


def follow(ab: Tensor, hints: Tensor, L: Tensor, plain: Tensor) -> Tensor:
    """Return colors that are the hints' where they are, and agree with them in similar places.

    The differences between hints and predicted colors are spread by Gaussian-process regression
    (Rasmussen and Williams 2006), which leaves colors far from all hints, or unlike them, alone.

    Args:
        ab: (B, 2, H, W) in LAB units: the predicted colors.
        hints: (B, 3, H, W) as `hints_from` returns; the mask, from 0 to 1, is the confidence.
        L: (B, 1, H, W) in [0, 100].
        plain: (B, 2, H, W) in LAB units: the colors predicted without the hints.
    """
    if L.device.type == "cpu" and not torch.compiler.is_exporting() and len(L) > 1:
        # One image fits into the cache, which is four times as fast.
        images = [[each[[i]] for each in (ab, hints, L, plain)] for i in range(len(L))]
        return torch.cat([follow(*image) for image in images])
    with full_precision(L):
        height, width = L.shape[-2:]
        short: Any = torch.sym_min(height, width)
        row, column = (torch.arange(side, device=L.device) / short for side in (height, width))
        places = torch.stack(torch.meshgrid(row, column, indexing="ij")).expand(
            L.shape[0], -1, -1, -1
        )
        pixels = torch.cat([places, L, plain], dim=1)
        mask = hints[:, 2:]
        given = torch.cat([mask, mask.square(), (hints[:, :2] - ab) * mask, pixels * mask], dim=1)
        cells = F.avg_pool2d(given, _CELL, ceil_mode=True, count_include_pad=False).flatten(2)
        cells = _chosen(cells)  # (B, 9, P)
        known = (cells[:, :1] > 0).to(L.dtype)
        cells = cells[:, 1:] / cells[:, :1].clamp(min=1e-6)
        confidence, difference, points = cells[:, 0], cells[:, 1:3], cells[:, 3:]
        # The rows of absent hints are those of the unit matrix.
        noise = torch.where(known[:, 0] > 0, _NOISE / confidence.clamp(min=1e-2).square(), 1)
        matrix = _covariance(points, points) * known * known.mT + torch.diag_embed(noise)
        weights = _solve(matrix, difference * known)
        # At half the size, which takes a quarter of the time and is as good.
        half = F.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)
        change = (weights @ _covariance(points, half.flatten(2))).view(-1, 2, *half.shape[2:])
        followed = ab + F.interpolate(change, ab.shape[2:], mode="bilinear")
        # Of many hints, the regression knows some: what it leaves of the others is added.
        rest = torch.cat([mask, (hints[:, :2] - followed) * mask], dim=1)
        rest = F.avg_pool2d(rest, _CELL, ceil_mode=True, count_include_pad=False)
        rest = rest[:, 1:] / (rest[:, :1] + _LITTLE)
        followed = followed + F.interpolate(rest, ab.shape[2:], mode="bilinear")
        return torch.where(mask == 1, hints[:, :2], followed)


def _chosen(cells: Tensor) -> Tensor:
    """Return the cells with hints, evenly chosen from more than `_MOST`; (B, C, N) to (B, C, P)."""
    given = cells[:, 0] > 0
    # A sequence of low discrepancy.
    order = (torch.arange(cells.shape[2], device=cells.device) * 0.618034) % 1
    count = _MOST
    if torch.compiler.is_exporting():
        cells, given, order = (
            F.pad(cells, (0, count)),
            F.pad(given, (0, count)),
            F.pad(order, (0, count)),
        )
    else:
        count = max(1, min(count, int(given.sum(1).max())))
    order = order + 2 * (cells[:, 1] > _SURE * cells[:, 0])  # what was painted is first
    index = (given * (1 + order)).topk(count).indices
    return cells.gather(2, index[:, None].expand(-1, cells.shape[1], -1))


def _covariance(first: Tensor, second: Tensor) -> Tensor:
    """Return the covariances of pixels, (B, P, Q).

    Both are (B, 5, P) or (B, 5, Q): row and column as shares of the short side, L, a, b.
    """
    scales = [1 / _FAR_DISTANCE] * 2 + [1 / _FAR_L] + [1 / _FAR_AB] * 2
    scale = first.new_tensor(scales).view(-1, 1)
    far = _squared_distance(first * scale, second * scale)
    distance = _squared_distance(first[:, :2], second[:, :2]).clamp(min=1e-12).sqrt()
    grey = _squared_distance(first[:, 2:3] / _NEAR_L, second[:, 2:3] / _NEAR_L)
    covariances: Tensor = _FAR * (-far).exp() + (-distance / _NEAR_DISTANCE - grey).exp()
    return covariances


def _squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return (B, P, Q) for (B, C, P) and (B, C, Q), as one matrix product."""
    left = [-2 * first, first.square().sum(1, keepdim=True), torch.ones_like(first[:, :1])]
    right = [second, torch.ones_like(second[:, :1]), second.square().sum(1, keepdim=True)]
    return torch.cat(left, 1).mT @ torch.cat(right, 1)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Return x with x @ matrix = right, for (B, P, P) and (B, C, P), by conjugate gradients."""
    x, rest = torch.zeros_like(right), right
    step, size = rest, rest.square().sum(2, keepdim=True)
    for _ in range(_STEPS):
        moved = step @ matrix
        share = size / (step * moved).sum(2, keepdim=True).clamp(min=1e-12)
        x, rest = x + share * step, rest - share * moved
        former, size = size, rest.square().sum(2, keepdim=True)
        step = rest + size / former.clamp(min=1e-12) * step
    return x


def optimized(hints: Tensor, L: Tensor) -> Tensor:
    """Spread the hints' colors (Levin et al. 2004, "Colorization using Optimization").

    The color of a pixel is the mean of its 8 neighbors' colors, weighted by how similar their
    lightness is; a hint keeps its color. This takes 0.2 seconds for 128 x 128 pixels, and
    ten times as long for 256 x 256. The arguments are those of `diffused`, with at least one hint
    in each image. Returns ab: (B, 2, H, W) in LAB units.
    """
    from scipy import sparse  # slow to import
    from scipy.sparse.linalg import splu

    size, count = L.shape[-2:], L[0].numel()
    index = F.pad(torch.arange(count).view(1, 1, *size).double() + 1, [1] * 4)
    index = F.unfold(index, 3)[0].long() - 1  # (9, pixels): of the neighbors, -1 outside
    there = index >= 0
    colors = torch.zeros_like(hints[:, :2])
    for ab, hint, grey in zip(colors, hints.cpu(), L.cpu(), strict=True):
        grey, known = grey.flatten().double() / 100, hint[2].flatten() > 0
        window = torch.where(there, grey[index], torch.nan)
        distance = (window - grey).square()
        distance[4] = torch.nan  # the pixel itself
        # The limits of the variance are from the authors' code.
        variance = 0.6 * (window - window.nanmean(0)).square().nanmean(0)
        nearest = distance.nan_to_num(torch.inf).amin(0)
        variance = variance.maximum(nearest / -math.log(0.01)).clamp(min=2e-6)
        weight = (-distance / variance).exp().nan_to_num(0)
        weight = weight / weight.sum(0) * ~known
        rows = torch.arange(count).expand_as(index)
        entries = (weight[there].numpy(), (rows[there].numpy(), index[there].numpy()))
        system = sparse.identity(count, format="csc") - sparse.csc_matrix(entries)
        solved = splu(system).solve((hint[:2].flatten(1).double() * known).T.numpy())
        ab[:] = torch.from_numpy(solved).T.view_as(ab)
    return colors
