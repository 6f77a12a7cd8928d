import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000

from lightning_colorize.color import to_lab
from lightning_colorize.color.delta_e import ciede2000


def as_image(lab):
    """(N, 3) colors as L (1, 1, 1, N) and ab (1, 2, 1, N)."""
    image = torch.as_tensor(lab, dtype=torch.float32).T[None, :, None]
    return image[:, :1], image[:, 1:]


@pytest.mark.parametrize(
    ("color", "others"),
    [
        ((2.49, -0.001), [(-2.49, 0.0009), (-2.49, 0.001), (-2.49, 0.0011), (-2.49, 0.0012)]),
        ((-0.001, 2.49), [(0.0009, -2.49), (0.001, -2.49), (0.0011, -2.49)]),
        ((2.5, 0.0), [(0.0, -2.5), (3.1736, 0.5854)]),
        ((0.0, 0.0), [(-1.0, 2.0), (2.6772, -79.7751)]),
    ],
)
def test_opposite_hues_and_grey(color, others):
    """Sharma, Wu & Dalal 2005, table 1: where formulas differ."""
    for other in others:
        pair = np.array([[50.0, *color]]), np.array([[50.0, *other]])
        expected = deltaE_ciede2000(*pair)
        for first, second in (pair, pair[::-1]):
            found = ciede2000(as_image(first), as_image(second)).flatten()
            np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_ciede2000_against_scikit_image(close, autocast):
    rng = np.random.default_rng(0)
    lab, other = rng.uniform([0, -110, -110], [100, 110, 110], (2, 20_000, 3))
    if close:
        other = lab + rng.normal(0, 2, lab.shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = ciede2000(as_image(lab), as_image(other))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.flatten(), deltaE_ciede2000(lab, other), atol=2e-3, rtol=0)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_grey_and_black_are_finite(grey):
    lab = to_lab(torch.full((1, 3, 4, 4), grey))
    exact = (lab[0], torch.zeros_like(lab[1]))
    assert ciede2000(lab, exact).max() < 0.02
    assert ciede2000(exact, (lab[0] * 0.5, exact[1])).isfinite().all()
