"""Colors that follow hints, whatever a model predicts."""

import pytest
import torch

from lightning_colorize.color.hints import HintPoints, follow, hints_from


@pytest.fixture
def halves():
    """A dark and a light half, both predicted grey: L and ab."""
    L = torch.full((1, 1, 64, 96), 20.0)
    L[..., 48:] = 80
    return L, torch.zeros(1, 2, 64, 96)


def _hint(place, color=(60.0, 30.0), size=(64, 96)):
    hints = torch.zeros(1, 3, *size)
    hints[0, :, place[0] : place[0] + 2, place[1] : place[1] + 2] = torch.tensor([*color, 1])[
        :, None, None
    ]
    return hints


def test_a_hint_colors_its_surroundings_and_nothing_unlike_it(halves):
    L, plain = halves
    colored = follow(plain, _hint((30, 20)), L, plain)[0]
    assert colored[:, 30, 20].tolist() == [60, 30]
    chroma = colored.norm(dim=0)
    assert 60 < chroma[30, 22] < 67.1  # no seam
    assert chroma[30, 22] > chroma[30, 30] > chroma[2, 2] > 10  # the farther, the less
    assert chroma[:, 50:].max() < 1  # of another lightness
    # What is predicted in another color is something else, too.
    plain = torch.cat([plain[..., :40], plain[..., 40:] - 60], dim=-1)
    assert (follow(plain, _hint((30, 20)), L, plain) - plain)[..., 44:].abs().max() < 1


def test_hints_apart_are_followed_each(halves):
    L, plain = halves
    hints = _hint((10, 10)) + _hint((50, 30), (-40.0, 40.0)) + _hint((30, 80), (0.0, -60.0))
    colored = follow(plain + 5, hints, L, plain)
    assert torch.equal(colored * hints[:, 2:], hints[:, :2])
    for row, column in ((10, 13), (50, 33), (30, 83)):  # beside them
        asked = hints[0, :2, row, column - 3]
        assert (colored[0, :, row, column] - asked).norm() < 0.2 * asked.norm()


def test_an_image_without_hints_is_unchanged_beside_others(halves):
    L, plain = halves
    L, plain, hints = L.repeat(2, 1, 1, 1), plain.repeat(2, 1, 1, 1), _hint((5, 5))
    hints = torch.cat([0 * hints, hints])
    colored = follow(plain + 3, hints, L, plain)
    assert torch.equal(colored[0], plain[0] + 3)
    torch.testing.assert_close(colored[1:], follow(plain + 3, hints, L, plain)[1:])


def test_more_hints_than_the_regression_takes_are_followed_everywhere():
    ramp = torch.linspace(0, 1, 128)
    L = (20 + 60 * ramp).expand(1, 1, 128, 128)
    ab = torch.stack([80 * ramp[:, None] - 40 + 0 * ramp, 40 - 80 * ramp + 0 * ramp[:, None]])[None]
    whole = torch.cat([ab, torch.ones_like(L)], dim=1)
    whole[..., 2::4] = 0  # between the hints
    assert (follow(0 * ab, whole, L, 0 * ab) - ab).norm(dim=1).quantile(0.99) < 3


def test_each_of_many_unsure_hints_counts():
    torch.manual_seed(0)
    L, cells = torch.full((1, 1, 128, 128), 50.0), torch.randn(1, 2, 32, 32) * 30
    hints = torch.zeros(1, 3, 128, 128)
    hints[:, :2, 2::4, 2::4], hints[:, 2, 2::4, 2::4] = cells, 0.5
    plain = torch.zeros(1, 2, 128, 128)
    found = torch.nn.functional.avg_pool2d(follow(plain, hints, L, plain), 4)
    assert (found - cells).norm() < 0.6 * cells.norm()


def test_few_hints_are_a_gain_over_a_wrong_prediction():
    generator = torch.Generator().manual_seed(0)
    L = torch.nn.functional.interpolate(torch.rand(4, 1, 6, 6, generator=generator), (96, 96)) * 100
    truth = torch.cat([L - 50, 50 - L], dim=1)
    plain = truth + torch.tensor([20.0, -10]).view(2, 1, 1)
    errors = [
        (follow(plain, hints_from(truth, HintPoints.uniform(points, 4, 2, 0)), L, plain) - truth)
        .norm(dim=1)
        .mean()
        for points in (1, 5, 20)
    ]
    assert 22 > errors[0] > errors[1] > errors[2]
    assert errors[2] < 4
