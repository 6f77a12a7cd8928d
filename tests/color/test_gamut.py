import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_colorize.color import fit_gamut, to_lab, to_rgb, to_rgb_in_gamut


def random_lab(seed, count=4096):
    lab = np.random.default_rng(seed).uniform([0, -110, -110], [100, 110, 110], (count, 3))
    image = torch.as_tensor(lab, dtype=torch.float32).T.reshape(1, 3, 32, -1)
    return image[:, :1], image[:, 1:]


def is_outside(L, ab, tolerance=0.0):
    rgb = to_rgb(L, ab, clip=False)
    return ((rgb < -tolerance) | (rgb > 1 + tolerance)).any(dim=1, keepdim=True)


def test_fitted_colors_are_inside_srgb_with_the_same_lightness_and_hue():
    L, ab = random_lab(1)
    before = ab.clone()
    fitted = fit_gamut(L, ab)
    assert torch.equal(ab, before)
    assert is_outside(L, ab).float().mean() > 0.7
    assert not is_outside(L, fitted, tolerance=1e-3).any()
    lightness, _ = to_lab(to_rgb(L, fitted))
    assert (lightness - L).abs().max() < 0.1
    cross = ab[:, 0] * fitted[:, 1] - ab[:, 1] * fitted[:, 0]
    assert cross.abs().max() < 1e-2
    assert ((ab * fitted).sum(dim=1) >= 0).all()
    assert (fitted.norm(dim=1) <= ab.norm(dim=1) + 1e-4).all()


def test_fit_gamut_reaches_the_boundary():
    L, ab = random_lab(3)
    fitted = fit_gamut(L, ab)
    shrunk = is_outside(L, ab, tolerance=1e-3)
    # 1 % of the original chroma more, and the color is outside again.
    assert is_outside(L, fitted + 0.01 * ab)[shrunk].all()


@settings(max_examples=50)
@given(st.floats(0, 100), st.floats(-200, 200), st.floats(-200, 200))
def test_any_color_is_finite_and_fits(L, a, b):
    lightness = torch.tensor(L).view(1, 1, 1, 1)
    fitted = fit_gamut(lightness, torch.tensor([a, b]).view(1, 2, 1, 1))
    assert fitted.isfinite().all()
    assert not is_outside(lightness, fitted, tolerance=2e-3)  # half an 8-bit level.any()


def test_rgb_in_the_gamut_equals_the_fitted_colors():
    L, ab = torch.rand(2, 1, 9, 11) * 100, (torch.rand(2, 2, 9, 11) - 0.5) * 250
    expected = to_rgb(L, fit_gamut(L, ab))
    torch.testing.assert_close(to_rgb_in_gamut(L, ab), expected, rtol=0, atol=1e-5)
