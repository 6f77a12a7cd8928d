"""Hints' colors spread by optimization."""

import numpy as np
import pytest
import torch

from lightning_colorize.color.hints import HintPoints, hints_from, optimized


def _reference(L, hints):
    """Solve Levin's equations pixel by pixel, as the paper and the authors' code state them."""
    height, width = L.shape
    system, known = np.eye(height * width), np.zeros((height * width, 2))
    for y, x in np.ndindex(height, width):
        if hints[2, y, x]:
            known[y * width + x] = hints[:2, y, x]
            continue
        rows, columns = (range(max(i - 1, 0), min(i + 2, n)) for i, n in ((y, height), (x, width)))
        near = [(r, c) for r in rows for c in columns if (r, c) != (y, x)]
        squares = np.array([(L[place] - L[y, x]) ** 2 for place in near])
        variance = 0.6 * np.var([L[y, x], *(L[place] for place in near)])
        variance = max(variance, -squares.min() / np.log(0.01), 2e-6)
        weights = np.exp(-squares / variance)
        for (r, c), weight in zip(near, weights / weights.sum(), strict=True):
            system[y * width + x, r * width + c] -= weight
    return np.linalg.solve(system, known).T.reshape(2, height, width)


def test_colors_solve_the_equations_of_the_paper():
    generator = torch.Generator().manual_seed(2)
    L = 100 * torch.rand(2, 1, 6, 7, generator=generator)
    L[:, :, 2:4, 2:5] = 40  # also flat areas
    ab = 40 * torch.randn(2, 2, 6, 7, generator=generator)
    hints = hints_from(ab, HintPoints.uniform(3, 2, 1, seed=0))
    colors = optimized(hints, L)
    for i in range(2):
        expected = _reference(L[i, 0].double().numpy() / 100, hints[i].numpy())
        np.testing.assert_allclose(colors[i].numpy(), expected, atol=1e-3)


def test_the_colors_of_two_regions_stay_in_them_and_one_color_fills_the_image():
    L = torch.full((1, 1, 12, 12), 30.0)
    L[..., 6:] = 70
    hints = torch.zeros(1, 3, 12, 12)
    hints[0, :, 3, 2] = torch.tensor([40.0, 10, 1])
    assert optimized(hints, L)[0].flatten(1).std(1).max() < 1e-3
    hints[0, :, 8, 9] = torch.tensor([-30.0, 20, 1])
    colors = optimized(hints, L)[0]
    assert colors[:, 3, 2].tolist() == pytest.approx([40, 10])
    assert colors[:, 8, 9].tolist() == pytest.approx([-30, 20])
    assert colors[0, :, :6].min() > 35
    assert colors[0, :, 6:].max() < -25
