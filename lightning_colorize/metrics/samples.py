"""Metrics of an image's samples: whether they are as uncertain as they should be."""

import math
from collections.abc import Sequence
from itertools import combinations, starmap

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import delta_e, full_precision
from lightning_colorize.metrics import formulas
from lightning_colorize.metrics.image_pair import ImagePair

_CELLS = 8  # per side


@torch.no_grad()
def measure_samples(samples: Sequence[ImagePair]) -> Tensor:
    """Measure the samples of a batch, in fp32: (metrics, B) in the order of `spec.SAMPLED`.

    A single one is the answer of a deterministic model, which has no diversity and coverage.
    """
    first = samples[0]
    with full_precision(first.L):
        drawn = torch.stack([sample.ab_hat for sample in samples])
        pairs = [ImagePair(first.L, drawn.mean(0), first.ab, first.L_hat), *samples]
        psnr, ciede2000 = (
            torch.stack([metric(pair) for pair in pairs])
            for metric in (formulas.psnr, formulas.ciede2000)
        )
        spread = [torch.full_like(psnr[0], torch.nan)] * 2
        if len(samples) > 1:
            spread = [difference_map(samples).mean(dim=(1, 2, 3)), coverage(drawn, first.ab)]
        best = (psnr[1:].amax(0), ciede2000[1:].amin(0))
        energy = energy_scores(drawn, first.ab)
        return torch.stack([*energy, *spread, psnr[0], ciede2000[0], *best])


def energy_scores(samples: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
    """Return `energy` and `coarse_energy` of `spec.SAMPLED`, (B,); for arguments as below."""
    cells = [F.adaptive_avg_pool3d(each, (2, _CELLS, _CELLS)) for each in (samples, ab)]
    return energy_score(samples, ab), energy_score(*cells)


def energy_score(samples: Tensor, ab: Tensor) -> Tensor:
    """Return the energy score, E||X - y|| - E||X - X'|| / 2, in LAB units; lower is better: (B,).

    X and X' are samples, y is the truth; the norm is the root mean square over pixels of the
    distance in (a, b). The score is proper: its mean is lowest for samples of the true distribution
    (Gneiting & Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007, section
    4.3). It is estimated over all pairs of two samples, without bias, so that any numbers of
    samples compare. The score of a single answer is its distance. `samples` is (n, B, 2, H, W), the
    truth `ab` is (B, 2, H, W), both in LAB units.
    """
    score = _distance(samples, ab).mean(0)
    for first, second in combinations(samples, 2):
        score = score - _distance(first, second) / (len(samples) * (len(samples) - 1))
    return score


def _distance(first: Tensor, second: Tensor) -> Tensor:
    distance: Tensor = (first - second).square().sum(-3).mean(dim=(-2, -1)).sqrt()
    return distance


def difference_map(samples: Sequence[ImagePair]) -> Tensor:
    """Return the CIEDE2000 of each pixel, mean over all pairs of two samples: (B, 1, H, W)."""
    pairs = combinations((sample.lab_hat for sample in samples), 2)
    # A running sum: 100 samples have 4,950 pairs.
    total: Tensor = sum(starmap(delta_e.ciede2000, pairs))  # type: ignore[assignment]
    return total / math.comb(len(samples), 2)


def coverage(samples: Tensor, ab: Tensor) -> Tensor:
    """Return the share of the true a and b between the lowest and the highest sample: (B,).

    If samples and truth have the same distribution, it is (n - 1) / (n + 1). Same
    arguments as `energy_score`.
    """
    inside = (ab >= samples.amin(0)) & (ab <= samples.amax(0))
    return inside.float().mean(dim=(1, 2, 3))
