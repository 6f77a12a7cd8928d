"""Hints' colors spread by optimization."""

import pytest
import torch

from lightning_colorize.color.hints import optimized


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
