"""Distances between sets of features, and their extrapolation to infinitely many images.

`features` are (rows, N, D): D features of N images, at least 2, for each row of a table. Image i is
the same in all rows. `true` is the index of the truth's row. `seed` draws the subsets of images.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance, poly_kernel

SUBSETS, SUBSET_SIZE = 100, 1000
"""Subsets for KID, as in torch-fidelity; up to 1,000 images form a single subset."""

SIZES, DRAWS = 5, 4
"""Number of subset sizes for the extrapolation, and of subsets per size."""


def frechet_distances(features: Tensor, true: int) -> np.ndarray:
    """Return the Frechet distance of each row from the truth: (rows,).

    The distance of two Gaussians with the means and covariances of the features (Dowson and Landau
    1982): |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    With factors C = F^T F, the last trace is the sum of the singular values of F1 F2^T. This way,
    the cost depends on the smaller of N and D, and the distance of a set from itself is 0;
    torchmetrics computes the eigenvalues of a DxD matrix for any N.
    nan for a single image, which has no covariance.
    """
    if features.shape[1] < 2:
        return np.full(len(features), np.nan)
    features = features.double()
    means = features.mean(1)
    factors = [_factor(row - mean) for row, mean in zip(features, means, strict=True)]
    apart = (means - means[true]).square().sum(1)
    spread = torch.stack([factor.square().sum() for factor in factors])
    shared = [torch.linalg.svdvals(factor @ factors[true].T).sum() for factor in factors]
    distances = apart + spread + spread[true] - 2 * torch.stack(shared)
    return distances.clamp(min=0).numpy()


def infinite_frechet_distances(features: Tensor, true: int, seed: int = 0) -> np.ndarray:
    """Return the Frechet distance of each row from the truth, extrapolated to infinite N: (rows,).

    The distance of N images is too large by about a multiple of 1/N: a line is fitted to it over
    1/N, on subsets of half to all of the images (Chong and Forsyth 2020, who keep the reference
    fixed; here each subset has the same images in all rows). nan for fewer than three images.
    """
    count = features.shape[1]
    sizes = np.unique(np.linspace(max(2, count / 2), count, SIZES).round().astype(int))
    if len(sizes) < 2:
        return np.full(len(features), np.nan)
    random = np.random.default_rng(seed)
    subsets = [
        random.permutation(count)[:size]
        for size in sizes
        for _ in range(1 if size == count else DRAWS)
    ]
    distances = [frechet_distances(features[:, subset], true) for subset in subsets]
    _, infinite = np.polyfit([1 / len(subset) for subset in subsets], np.stack(distances), 1)
    return np.asarray(infinite)


def kernel_distances(features: Tensor, true: int, seed: int = 0) -> np.ndarray:
    """Return the kernel distance (KID, Binkowski et al. 2018) of each row from the truth: (rows,).

    The estimator of torch-fidelity and torchmetrics, which is unbiased for two independent sets.
    Here the sets are paired, so the distance of the truth from itself is negative.
    """
    features = features.double()
    count = features.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it keeps all features
        metric = KernelInceptionDistance(
            nn.Identity(),
            subsets=SUBSETS if count > SUBSET_SIZE else 1,
            subset_size=min(count, SUBSET_SIZE),
        )
    distances = []
    for row in features:
        metric.reset()
        metric.update(features[true], real=True)
        metric.update(row, real=False)
        with torch.random.fork_rng(devices=[]):  # it draws subsets with the global generator
            torch.manual_seed(seed)
            distances.append(float(metric.compute()[0]))
    return np.array(distances)


def paired_kernel_distances(features: Tensor, true: int) -> np.ndarray:
    """Return the kernel distance of each row from the truth, unbiased for pairs: (rows,).

    The U-statistic (Gretton et al. 2012, lemma 6 and the equation after it): the mean over pairs
    of two different images, so that an image is never compared with itself in another row. It is 0
    for the truth.
    """
    features = features.double()
    own = [_off_diagonal(row, row) for row in features]
    with_truth = [_off_diagonal(row, features[true]) for row in features]
    pairs = zip(own, with_truth, strict=True)
    return np.array([each + own[true] - 2 * other for each, other in pairs])


def _off_diagonal(x: Tensor, y: Tensor) -> float:
    """Return the mean of the kernel over pairs of different images; (N, D) each."""
    count = len(x)
    parts = [x[i : i + SUBSET_SIZE] for i in range(0, count, SUBSET_SIZE)]
    total = sum([float(poly_kernel(part, y).sum()) for part in parts])
    same = ((x * y).sum(1) / x.shape[1] + 1) ** 3  # the diagonal of poly_kernel
    return (total - float(same.sum())) / (count * (count - 1))


def _factor(centered: Tensor) -> Tensor:
    """Return F with F^T F the covariance of (N, D), with as few rows as possible."""
    factor: Tensor = centered / (len(centered) - 1) ** 0.5
    if len(factor) <= factor.shape[1]:
        return factor
    triangle: Tensor = torch.linalg.qr(factor, mode="r").R
    return triangle
