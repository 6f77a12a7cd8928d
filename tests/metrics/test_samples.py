"""Metrics of samples, by hand and against what they are for known distributions."""

import weakref

import pytest
import torch

from lightning_colorize.color import to_lab
from lightning_colorize.metrics import formulas
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.samples import (
    coverage,
    difference_map,
    energy_score,
    measure_samples,
)
from lightning_colorize.metrics.spec import SAMPLED


def _colors(*pixels):
    """Return one image of one row with the given (a, b)."""
    return torch.tensor(pixels, dtype=torch.float32).T[None, :, None]


def test_the_energy_score_of_known_samples():
    samples = torch.stack([_colors(each) for each in ((0, 0), (6, 8), (12, 16))])
    # One answer has its distance; then less half the mean distance of two samples.
    scores = (20, (20 + 10) / 2 - 10 / 2, (20 + 10 + 0) / 3 - (10 + 20 + 10) / 3 / 2)
    for count, score in enumerate(scores, start=1):
        assert energy_score(samples[:count], _colors((12, 16))).item() == pytest.approx(score)
    # The norm is the root mean square over pixels.
    score = energy_score(_colors((3, 0), (0, 4), (0, 0))[None], _colors(*[(0, 0)] * 3))
    assert score.item() == pytest.approx((25 / 3) ** 0.5)


def test_coverage_counts_a_and_b_within_the_range():
    drawn = torch.stack([_colors((-1, 0), (0, 0)), _colors((1, 0), (5, 9))])
    assert coverage(drawn, _colors((0.5, 0), (6, 4))).item() == 3 / 4
    random = torch.randn(9, 1, 2, 100, 100, generator=torch.Generator().manual_seed(1))
    assert coverage(random[:8], random[8]).item() == pytest.approx(7 / 9, abs=0.01)


def test_the_map_of_many_samples_does_not_hold_all_pairs(monkeypatch):
    maps, most = [], []

    def ciede2000(first, second):
        maps.append(weakref.ref(each := (first[1] - second[1]).norm(dim=1, keepdim=True)))
        most.append(sum(kept() is not None for kept in maps))
        return each

    monkeypatch.setattr("lightning_colorize.color.delta_e.ciede2000", ciede2000)
    L, ab = torch.full((1, 1, 2, 2), 50.0), torch.zeros(1, 2, 2, 2)
    found = difference_map([ImagePair(L, ab + a, ab) for a in range(9)])
    # The mean distance of two of 0 to 8, in both a and b.
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 10 / 3 * 2**0.5))
    assert len(maps) == 36
    assert max(most) < 4


def test_all_metrics_of_samples_have_the_order_of_the_table(photographs):
    L, ab = to_lab(photographs[:3])
    pairs = [ImagePair(L, ab * share, ab) for share in (0.8, 0.4)]
    values = dict(zip([metric.name for metric in SAMPLED], measure_samples(pairs), strict=True))
    psnr, ciede2000 = ([f(p) for p in pairs] for f in (formulas.psnr, formulas.ciede2000))
    mean = ImagePair(L, ab * 0.6, ab)
    norm = ab.square().sum(1).mean((1, 2)).sqrt()
    coarse = torch.nn.functional.adaptive_avg_pool2d(ab, 8).square().sum(1).mean((1, 2)).sqrt()
    between = formulas.ciede2000(ImagePair(L, ab * 0.8, ab * 0.4))
    expected = {
        "energy": (0.2 + 0.6) / 2 * norm - 0.4 / 2 * norm,
        "coarse_energy": 0.2 * coarse,
        "sample_diversity": between,
        "mean_psnr": formulas.psnr(mean),
        "mean_ciede2000": formulas.ciede2000(mean),
        "best_psnr": torch.maximum(*psnr),
        "best_ciede2000": torch.minimum(*ciede2000),
    }
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value, rtol=1e-4, atol=1e-4)
    assert values["coverage"].max() < 0.1
    alone = measure_samples(pairs[:1])
    assert alone.isnan().sum(1).tolist() == [0, 0, 3, 3, 0, 0, 0, 0]
    torch.testing.assert_close(alone[4:], torch.stack([psnr[0], ciede2000[0]] * 2))
