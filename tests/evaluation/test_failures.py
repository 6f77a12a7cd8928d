import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.evaluation.failures import FAILURES, measure_failures

SIDE = 128
NAMES = [failure.name for failure in FAILURES]


def _two_regions():
    """A light, orange half beside a dark, blue one."""
    left = (torch.arange(SIDE) < SIDE // 2).float().expand(1, 1, SIDE, SIDE)
    L = 30 + 40 * left
    return L, torch.cat([30 * left - 10, 40 * left - 20], dim=1)


def _values(L, ab_hat, ab):
    """Return the value of each mode of one image."""
    return dict(zip(NAMES, measure_failures(L, ab_hat, ab)[:, 0].tolist(), strict=True))


def _shown(L, ab_hat, ab):
    """Return the modes that one image shows."""
    values = _values(L, ab_hat, ab)
    return {failure.name for failure in FAILURES if values[failure.name] > failure.threshold}


def _blurred(ab, reach=4):
    return F.avg_pool2d(F.pad(ab, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)


def _clouds():
    coarse = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    return 25 * F.interpolate(coarse, (SIDE, SIDE), mode="bicubic")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda ab: ab, set()),
        (lambda ab: ab / 2, set()),  # paler
        (lambda ab: ab.flip(1), set()),  # of wrong colors, which end where the true ones do
        (lambda ab: ab + 20, set()),  # with a cast
        (lambda ab: 0.1 * ab, {"grey_collapse"}),
        (lambda ab: ab + _clouds(), {"blotches", "bleeding"}),  # some lie beside the edge
        (_blurred, {"bleeding"}),
    ],
)
def test_an_image_shows_the_failures_that_it_has_and_no_other(change, expected):
    L, ab = _two_regions()
    assert _shown(L, change(ab), ab) == expected


def test_grey_collapse_is_the_share_of_chroma_that_is_missing():
    L, ab = _two_regions()
    assert _values(L, 0.25 * ab, ab)["grey_collapse"] == pytest.approx(0.75)
    assert _values(L, 2 * ab, ab)["grey_collapse"] == pytest.approx(-1)
    # A grey photograph has no color to lose.
    assert torch.tensor(_values(L, 0 * ab, 0.1 * ab)["grey_collapse"]).isnan()


def test_blotches_are_color_changes_without_a_reason():
    L, ab = torch.full((1, 1, SIDE, SIDE), 50.0), torch.zeros(1, 2, SIDE, SIDE)
    stripes = ((torch.arange(SIDE) // 8) % 2 * 6.0).expand(1, 1, SIDE, SIDE)
    colored = torch.cat([stripes, 0 * stripes], dim=1)
    # Horizontal neighbors differ by 6, vertical ones by 0.
    assert _values(L, colored, ab)["blotches"] == pytest.approx(3)
    assert _values(L, colored, colored)["blotches"] == 0
    assert _values(L + stripes, colored, ab)["blotches"] == 0


def test_bleeding_counts_the_change_beside_the_edge():
    L, ab = _two_regions()
    expected = _blurred(ab)[0, :, 0]
    middle, reach = SIDE // 2, 6  # 1/20 of the side
    columns = [c for c in range(SIDE) if L[0, 0, 0, c - 1] - L[0, 0, 0, (c + 1) % SIDE] > 15]
    assert columns == [middle - 1, middle]
    excess = [
        (expected[:, c + reach] - expected[:, c - reach]).norm()
        - (expected[:, c + 1] - expected[:, c - 1]).norm()
        for c in columns
    ]
    assert _values(L, _blurred(ab), ab)["bleeding"] == pytest.approx(float(sum(excess)) / 2)
    # Without edges there is nothing to bleed over.
    assert torch.tensor(_values(0 * L, _blurred(ab), ab)["bleeding"]).isnan()


@pytest.mark.parametrize("side", [1, 3, 16])
def test_small_images_and_colors_that_are_not_finite_have_no_failure(side):
    generator = torch.Generator().manual_seed(0)
    L = 100 * torch.rand(2, 1, side, side, generator=generator)
    ab = 20 * torch.randn(2, 2, side, side, generator=generator)
    values = measure_failures(L, ab * torch.tensor([1, torch.nan])[:, None, None, None], ab)
    assert values.shape == (len(FAILURES), 2)
    limits = torch.tensor([failure.threshold for failure in FAILURES])
    assert not (values > limits[:, None]).any()
