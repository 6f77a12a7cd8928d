import torch
from torch import nn

from lightning_colorize.networks import parameter_count
from lightning_colorize.networks.layers import ConvBlock, norm_layer


def test_parameters_of_a_block():
    assert parameter_count(ConvBlock(5, 7, "none"))[0] == 9 * 5 * 7 + 7
    assert parameter_count(ConvBlock(5, 7, "batch"))[0] == 9 * 5 * 7 + 2 * 7
    assert parameter_count(ConvBlock(5, 7, "batch", separable=True))[0] == 9 * 5 + 5 * 7 + 2 * 7


def test_norms():
    assert isinstance(norm_layer("batch", 6), nn.BatchNorm2d)
    assert isinstance(norm_layer("none", 6), nn.Identity)
    instance, x = norm_layer("instance", 6), torch.randn(3, 6, 8, 8) * 5 + 2
    torch.testing.assert_close(instance(x).mean((2, 3)), torch.zeros(3, 6), atol=1e-5, rtol=0)
    group = norm_layer("group", 48)
    assert group.num_groups == 16
    y = group(torch.randn(3, 48, 8, 8) * 5 + 2).view(3, 16, -1)
    torch.testing.assert_close(y.var(-1, unbiased=False), torch.ones(3, 16), atol=1e-3, rtol=0)
