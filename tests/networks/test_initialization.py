import torch
from torch import nn

from lightning_colorize.networks import init_normal


def test_distributions():
    torch.manual_seed(0)
    parts = {
        "conv": nn.Conv2d(64, 128, 3),
        "deconv": nn.ConvTranspose2d(64, 128, 4, bias=False),
        "batch": nn.BatchNorm2d(5000),
        "instance": nn.InstanceNorm2d(5000, affine=True),
        "group": nn.GroupNorm(8, 5000),
    }
    for part in parts.values():
        if part.bias is not None:
            nn.init.ones_(part.bias)
    init_normal(nn.Sequential(nn.Sequential(*parts.values())), std=0.1)
    for name, part in parts.items():
        mean = 0.0 if "conv" in name else 1.0
        assert abs(part.weight.mean().item() - mean) < 0.005, name
        assert abs(part.weight.std().item() - 0.1) < 0.005, name
        assert part.bias is None or not part.bias.any()


def test_other_layers_are_left_alone():
    linear = nn.Linear(4, 4)
    before = linear.weight.clone()
    init_normal(linear)
    assert torch.equal(linear.weight, before)
