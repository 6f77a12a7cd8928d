import pytest
import torch

from lightning_colorize.metrics import per_image


def test_mean_absolute_error_by_hand():
    L = torch.full((2, 1, 4, 4), 50.0)
    ab = torch.zeros(2, 2, 4, 4)
    ab_hat = ab.clone()
    ab_hat[0, 0], ab_hat[0, 1] = 3.0, -5.0
    ab_hat[1, 0, :2] = 8.0
    assert per_image(L, ab_hat, ab)["mae_ab"].tolist() == pytest.approx([4.0, 2.0])
