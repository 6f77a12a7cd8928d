"""The networks of Zhang et al. against their published layers."""

import torch
from torch import nn

from lightning_colorize.networks import ClassificationHead, UpsampleDecoder, ZhangEncoder

# Channels, dilation and stride of the blocks in models/colorization_train_val_v2.prototxt.
BLOCKS = [
    ((1, 64, 64), 1, 2),
    ((64, 128, 128), 1, 2),
    ((128, 256, 256, 256), 1, 2),
    ((256, 512, 512, 512), 1, 1),
    ((512, 512, 512, 512), 2, 1),
    ((512, 512, 512, 512), 2, 1),
    ((512, 512, 512, 512), 1, 1),
]


def published():
    layers = []
    for channels, dilation, stride in BLOCKS:
        for number in range(1, len(channels)):
            strides = stride if number == len(channels) - 1 else 1
            sides = channels[number - 1 : number + 1]
            layers += [nn.Conv2d(*sides, 3, strides, dilation, dilation), nn.ReLU()]
        layers.append(nn.BatchNorm2d(channels[-1]))
    layers += [nn.ConvTranspose2d(512, 256, 4, 2, 1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def test_equals_the_published_network_of_2016():
    torch.manual_seed(0)
    encoder = ZhangEncoder(strided=True)
    decoder = UpsampleDecoder(
        encoder.info, [256], convs=2, norm="none", out_reduction=4, mode="transposed"
    )
    ours, theirs = nn.Sequential(encoder, decoder), published().eval()
    values = list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    L = torch.rand(1, 1, 40, 48) * 2 - 1
    with torch.no_grad():
        decoded = ours.eval()(L)
        torch.testing.assert_close(decoded, theirs(L), rtol=1e-4, atol=1e-5)
        assert ClassificationHead(256)(decoded, (40, 48)).shape == (1, 313, 10, 12)
