"""Near duplicates: candidates by a descriptor of low frequencies, verified by alignment.

A copy may be cropped, turned or framed, so the descriptors of windows of each image are compared
with the descriptors of all whole images. The few nearest are aligned (Lucas and Kanade 1981, in the
inverse form of Baker and Matthews 2004), and accepted if their fine structure agrees. A pair takes
2 ms; with kornia's `ImageRegistrator` it takes 1.3 s. In scikit-image, `phase_cross_correlation`
only finds shifts, and `optical_flow_ilk` takes 50 ms and warps any image to any other.

The index is an inverted file: points are grouped by the nearest of many centers, and a query visits
a few groups. (A k-d tree takes fifty times as long at this radius; imagehash has no search and no
crops; faiss would be a second linear-algebra library of 30 MB.)
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.features import SIDE

AGREEMENT = 0.64
"""Least correlation of the fine structure of near duplicates; see docs/how-to/audit.md."""

# A block with less variance than this is empty; the mean is 1. With fewer non-empty blocks than
# this, of a hundred, two images must correlate without alignment, by the root of AGREEMENT: 0.8.
_EMPTY = 0.2
_STRUCTURED = 50
# Without their lines, different pages of text correlate by at most 0.3; near duplicates must
# correlate by AGREEMENT divided by this, 0.4.
_LINES = 1.6

# Minimum cosine between the descriptors of candidates, and maximum number of candidates to verify
# per part.
_COSINE = 0.935
_CANDIDATES = 8
# Points per cell of the index, and number of cells that a query visits.
_CELL = 512
_VISITS = 8
_CHUNK = 256  # images; under a second, after which Ctrl-C takes effect
_BATCH = 64  # pairs that are aligned at a time, which fit a cache
_WORKERS_FROM = 256

# The shares of the width or height that a window leaves out at either end.
_CUTS = ((0.0, 0.0), (0.05, 0.05), (0.1, 0.0), (0.0, 0.1), (0.1, 0.1))
_WINDOWS = [(left, top, right, bottom) for top, bottom in _CUTS for left, right in _CUTS]

# The eight orientations of a square, for its pixels and for its frequencies.
_FLIPS = [(rows, columns) for rows in (1, -1) for columns in (1, -1)]
_pixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
_TURNED = torch.from_numpy(
    np.stack([way[::r, ::c].ravel() for way in (_pixels, _pixels.T) for r, c in _FLIPS])
)
_TURNED_BACK = _TURNED.argsort(dim=1)
_rows, _columns = (frequency.ravel() for frequency in np.indices((8, 8)))
_LOW = np.flatnonzero((_rows + _columns > 0) & (_rows + _columns < 8))
_rows, _columns = _rows[_LOW], _columns[_LOW]
_SWAPPED = np.searchsorted(_LOW, 8 * _columns + _rows)
_SIGNS = torch.from_numpy(np.stack([r**_rows * c**_columns for r, c in _FLIPS])).float()
# The upright orientation has the largest product with this; one that has nearly as much may be
# the upright one of a copy.
_UPRIGHT = torch.from_numpy(2.0 * (_LOW == 8) + 1.0 * (_LOW == 1)).float()
_UNSURE = 0.3


def find_near(
    features: np.ndarray, queries: np.ndarray, others: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the near duplicates of some images among others.

    `features` are (N,) of `FEATURES`; `queries` and each part of `others` are indices. The nearest
    of each part are compared. Returns the compared pairs, (P, 2), the query first, and whether they
    are near duplicates, (P,).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # there is a process for each core, and many small operations
    try:
        views = _Views(features)
        indices = [_Index(views, views.of(part)) for part in others]
        asked = views.of(queries)
        chunks: DataLoader[Any] = DataLoader(
            [asked[first : first + _CHUNK] for first in range(0, len(asked), _CHUNK)],  # type: ignore[arg-type]
            batch_size=None,
            num_workers=cores() if len(queries) >= _WORKERS_FROM else 0,
            collate_fn=partial(_compared, views, indices),
        )
        found = list(progress(iter(chunks), len(chunks), "finding near duplicates"))
    finally:
        torch.set_num_threads(threads)
    pairs = [np.empty((0, 2), dtype=np.intp), *(pairs for pairs, _ in found)]
    return np.concatenate(pairs), np.concatenate([np.empty(0, bool), *(near for _, near in found)])


class _Views:
    """Each image whole, and once more without its border if it has one."""

    def __init__(self, features: np.ndarray) -> None:
        borders = features["border"]
        framed = np.flatnonzero(borders.any(axis=1))
        self.thumbnails = features["thumbnail"]
        self.owners = np.concatenate([np.arange(len(features)), framed])
        self.boxes = np.concatenate([np.zeros_like(borders), borders[framed]])

    def of(self, images: np.ndarray) -> np.ndarray:
        """Return the views of some images."""
        return np.flatnonzero(np.isin(self.owners, images))

    def pixels(self, views: np.ndarray) -> Tensor:
        """Return (V, 48, 48), float."""
        pixels = torch.from_numpy(self.thumbnails[self.owners[views]]).float()
        boxes = torch.from_numpy(self.boxes[views])
        framed = boxes.any(dim=1)
        if framed.any():
            pixels[framed] = _warp(pixels[framed], _window(boxes[framed]))
        return pixels


class _Index:
    """Descriptors of views, upright, by cell."""

    def __init__(self, views: _Views, members: np.ndarray) -> None:
        # Small results that are kept between large temporary ones would fragment the memory.
        described = torch.empty(len(members), len(_LOW))
        for first in range(0, len(members), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            described[chunk] = _describe(views.pixels(members[chunk]))[:, 0]
        upright = described @ _WAYS
        rows, ways = (upright >= upright.amax(1, True) - _UNSURE).nonzero(as_tuple=True)
        owners = torch.from_numpy(members)[rows]
        points = _turned(described[rows], ways)
        some = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
        self.centers = points[some[: max(1, len(points) // _CELL)]]
        cells = torch.empty(len(points), dtype=torch.long)
        for own, part in zip(cells.split(_CHUNK), points.split(_CHUNK), strict=True):  # type: ignore
            own[:] = (part @ self.centers.T).argmax(1)
        order = cells.argsort(stable=True)
        self.points, self.members, self.ways = points[order], owners[order], ways[order]
        self.ends = cells.bincount(minlength=len(self.centers)).cumsum(0).tolist()

    def nearest(self, queries: Tensor) -> tuple[np.ndarray, ...]:
        """Return rows of queries, indices of points near them, and the cosines, (F,) each."""
        visited = (queries @ self.centers.T).topk(min(_VISITS, len(self.centers))).indices
        rows = visited.flatten().argsort(stable=True) // visited.shape[1]
        counts = visited.flatten().bincount(minlength=len(self.centers)).tolist()
        found = []
        start = 0
        for own, end in zip(torch.split(rows, counts), self.ends, strict=True):
            if len(own):
                cosines = queries[own] @ self.points[start:end].T
                # Frames of a film would be too many.
                if (cosines >= _COSINE).count_nonzero() > _CANDIDATES * len(own):
                    least = cosines.topk(min(_CANDIDATES, end - start)).values[:, -1:]
                    cosines = cosines.where(cosines >= least, -1)
                row, column = (cosines >= _COSINE).nonzero(as_tuple=True)
                found.append((own[row], start + column, cosines[row, column]))
            start = end
        return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))


def _compared(
    views: _Views, indices: list[_Index], queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the compared pairs of a chunk of queries, and which are near duplicates."""
    pixels = views.pixels(queries)
    described = _describe(pixels).flatten(0, 1)
    ways = (described @ _WAYS).argmax(1)
    upright = _turned(described, ways)
    compared = [np.empty((0, 2), dtype=np.intp)]
    near = [np.empty(0, dtype=bool)]
    for index in indices:
        rows, points, cosines = index.nearest(upright)
        query = rows // len(_WINDOWS)
        pairs = views.owners[np.stack([queries[query], index.members[points]], axis=1)]
        best = _best(pairs, cosines)
        for first in range(0, len(best), _BATCH):
            own = best[first : first + _BATCH]
            way = _TURNED[index.ways[points[own]]].gather(1, _TURNED_BACK[ways[rows[own]]])
            other = views.pixels(index.members[points[own]].numpy()).flatten(1)
            window = torch.tensor(_WINDOWS)[rows[own] % len(_WINDOWS)]
            other = other.gather(1, way).view(-1, SIDE, SIDE)
            compared.append(pairs[own])
            near.append(agreement(other, pixels[query[own]], window).numpy() >= AGREEMENT)
    return np.concatenate(compared), np.concatenate(near)


def _best(pairs: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Return the indices of the nearest others of each image, each other once."""
    order = np.lexsort((-cosines, pairs[:, 1], pairs[:, 0]))
    order = order[pairs[order, 0] != pairs[order, 1]]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (pairs[order[1:]] != pairs[order[:-1]]).any(axis=1)
    order = order[new]
    order = order[np.lexsort((-cosines[order], pairs[order, 0]))]
    first = np.searchsorted(pairs[order, 0], pairs[order, 0])
    nearest: np.ndarray = order[np.arange(len(order)) - first < _CANDIDATES]
    return nearest


def _bases() -> Tensor:
    """Return the cosines of a window, (5, 8, 48): the transform of its bilinear enlargement."""
    transform = dct(np.eye(SIDE), axis=0, norm="ortho")[:8]
    pixels = np.arange(SIDE)
    windows = []
    for start, end in _CUTS:
        places = (pixels + 0.5) * (1 - start - end) + SIDE * start - 0.5
        windows.append([np.interp(places, pixels, row) for row in np.eye(SIDE)])
    return torch.from_numpy(transform @ np.array(windows).mT).float()


_BASES = _bases()


def _describe(pixels: Tensor) -> Tensor:
    """Return the low frequencies of each window, (N, 25, 35), of length 1."""
    low = torch.einsum("afy,nyx,bgx->nabfg", _BASES, pixels, _BASES)
    return F.normalize(low.flatten(3).flatten(1, 2)[..., _LOW], dim=-1)


def _turned(descriptors: Tensor, ways: Tensor) -> Tensor:
    """Return the descriptors, (N, 35), of images in the given orientations, (N,)."""
    swapped = torch.where((ways >= 4)[:, None], descriptors[:, _SWAPPED], descriptors)
    return swapped * _SIGNS[ways % 4]


# The product of a descriptor with this tells which orientation is upright.
_WAYS = torch.stack(
    [_turned(torch.eye(len(_LOW)), torch.full((len(_LOW),), way)) @ _UPRIGHT for way in range(8)], 1
)


def agreement(images: Tensor, others: Tensor, windows: Tensor, steps: int = 4) -> Tensor:
    """Return the correlation of the fine structures of images and aligned others: (N,), -1 to 1.

    Images are (N, 48, 48), float. `windows`, (N, 4), are the shares of the other that its window
    leaves out at the start of the Gauss-Newton steps.
    """
    images = _standardized(images)
    down, right = torch.gradient(images, spacing=2 / SIDE, dim=(1, 2))
    slopes = [right * _X, right * _Y, right, down * _X, down * _Y, down]
    jacobian = (torch.stack(slopes, 1) * _INSIDE).flatten(2)
    hessian = jacobian @ jacobian.mT
    damping = 0.01 * hessian.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-6
    inverse = torch.linalg.inv(hessian + damping * torch.eye(6))
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(images), 1, 3)
    warp = torch.cat([_window(windows), last], 1)
    for _ in range(steps):
        error = (_standardized(_warp(others, warp[:, :2])) - images).flatten(1)
        step = (inverse @ (jacobian @ error[:, :, None])).view(-1, 2, 3).clamp(-0.2, 0.2)
        warp = warp @ torch.linalg.inv(torch.cat([step, 0 * last], 1) + torch.eye(3))
    one, other = _fine(images), _fine(_warp(others, warp[:, :2]))
    found, structured = _correlation(one, other)
    # All pages of text have the same lines.
    near = found >= AGREEMENT
    if near.any():
        rest = _correlation(_without_lines(one[near]), _without_lines(other[near]))[0]
        found[near] = found[near].minimum(rest * _LINES)
    # The alignment would move a lone object onto any other.
    few = structured < _STRUCTURED
    if few.any():
        one, other = _standardized(one[few]), _standardized(_fine(others[few]))
        correlation = (one * other * _INSIDE).sum((1, 2)) / _INSIDE.sum()
        found[few] = correlation * correlation.abs()
    return found


_centers = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
_Y, _X = torch.meshgrid(_centers, _centers, indexing="ij")
# Pixels at the edge are left out: a turned copy has black corners.
_INSIDE = (torch.maximum(_X.abs(), _Y.abs()) < 1 - 4 / SIDE).float()


def _window(cuts: Tensor) -> Tensor:
    """Return the affine maps, (N, 2, 3), that crop (N, 4), for `affine_grid`."""
    start, end = cuts.float().view(-1, 2, 2).unbind(1)
    return torch.cat([torch.diag_embed(1 - start - end), (start - end)[:, :, None]], 2)


def _warp(pixels: Tensor, warp: Tensor) -> Tensor:
    grid = F.affine_grid(warp, [len(warp), 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _standardized(pixels: Tensor) -> Tensor:
    """Return the pixels less their mean, divided by their contrast, both of the inside."""
    count = _INSIDE.sum()
    pixels = pixels - (pixels * _INSIDE).sum((1, 2), keepdim=True) / count
    variance = (pixels**2 * _INSIDE).sum((1, 2), keepdim=True) / count
    return pixels / variance.sqrt().clamp_min(1e-3)


def _fine(pixels: Tensor) -> Tensor:
    """Return the pixels less their surroundings."""
    blurred = pixels[:, None]
    for _ in range(2):
        blurred = F.conv2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), _BLUR)
    return pixels - blurred[:, 0]


def _without_lines(pixels: Tensor) -> Tensor:
    """Return the pixels less the means of their surroundings in the row, then in the column."""
    for size, padding in (((1, 13), (0, 6)), ((13, 1), (6, 0))):
        means = F.avg_pool2d(pixels[:, None], size, 1, padding, count_include_pad=False)
        pixels = pixels - means[:, 0]
    return pixels


_BLUR = (torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([1.0, 2.0, 1.0]))[None, None] / 16


def _correlation(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tenth percentile of the correlations of blocks with structure, (N,).

    Also returns the number of the hundred blocks with structure in one of the two images, (N,).
    """
    first, second = _standardized(first) * _INSIDE, _standardized(second) * _INSIDE
    products = torch.stack([first * second, first**2, second**2], 1)
    both, one, other = F.avg_pool2d(products, SIDE // 4, stride=4).flatten(2).unbind(1)
    structured = torch.maximum(one, other) > _EMPTY
    count = structured.sum(1)
    found = (both + 0.3) / ((one + 0.3) * (other + 0.3)).sqrt()
    ascending = found.where(structured, 1.0).sort(1).values
    return ascending.gather(1, (count[:, None] // 10 - 1).clamp_min(0))[:, 0], count
