"""pix2pix's generator: UNetEncoder, UNetDecoder and DeconvHead."""

import pytest
import torch
from torch import nn

from lightning_colorize.networks import (
    ColorizationNetwork,
    DeconvHead,
    UNetDecoder,
    UNetEncoder,
)


def generator(size=128, width=64, norm="batch", dropout=0.5):
    torch.manual_seed(0)
    encoder = UNetEncoder(size, None, width, norm)
    decoder = UNetDecoder(encoder.info, dropout, norm)
    return ColorizationNetwork(encoder, decoder, DeconvHead(decoder.out_channels))


def kinds(network, *classes):
    return [m for m in network.modules() if isinstance(m, classes)]


class Level(nn.Module):
    """A level of the U-Net with all that lies below it, as the authors nest them."""

    def __init__(self, channels_in, channels_out, inner, below, dropout=0.0):
        super().__init__()
        outermost, innermost = channels_in == 1, below is None
        self.down = [] if outermost else [nn.LeakyReLU(0.2)]
        self.down += [nn.Conv2d(channels_in, inner, 4, 2, 1, bias=False)]
        self.down += [] if outermost or innermost else [nn.BatchNorm2d(inner)]
        up = nn.ConvTranspose2d(inner * (2 - innermost), channels_out, 4, 2, 1, bias=outermost)
        self.up = [nn.ReLU(), up]
        self.up += [nn.Tanh()] if outermost else [nn.BatchNorm2d(channels_out)]
        self.up += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.ModuleList([*self.down, *self.up])
        self.below = below

    def forward(self, x):
        y = nn.Sequential(*self.down)(x)
        if self.below is not None:
            # The authors concatenate in the other order, which only permutes the channels.
            y = torch.cat([self.below(y), y], dim=1)
        return nn.Sequential(*self.up)(y)


def reference(depth, width, dropout):
    """Return the levels of the published network, outermost first; that one contains all others."""
    levels = [Level(8 * width, 8 * width, 8 * width, None)]
    for _ in range(depth - 5):
        levels.insert(0, Level(8 * width, 8 * width, 8 * width, levels[0], dropout))
    for inner in (8, 4, 2):
        outer = inner // 2 * width
        levels.insert(0, Level(outer, outer, inner * width, levels[0]))
    levels.insert(0, Level(1, 2, width, levels[0]))
    return levels


@pytest.mark.parametrize(("depth", "dropout"), [(6, 0.5), (7, 0.25), (8, 0.5), (7, 0.0)])
def test_equals_the_published_network(depth, dropout):
    """In training and in evaluation; the same seed gives the same dropout."""
    network = generator(2**depth, width=2, dropout=dropout)
    levels = reference(depth, width=2, dropout=dropout)
    convs, norms = (nn.Conv2d, nn.ConvTranspose2d), (nn.BatchNorm2d,)
    for classes in (convs, norms):
        down = [m for level in levels for m in level.down if isinstance(m, classes)]
        up = [m for level in reversed(levels) for m in level.up if isinstance(m, classes)]
        for target, source in zip(down + up, kinds(network, *classes), strict=True):
            target.load_state_dict(source.state_dict())
    L = torch.rand(2, 1, 2**depth, 2**depth) * 2 - 1
    for training in (True, False):
        network.train(training)
        levels[0].train(training)
        predictions = []
        for model in (network, levels[0]):
            torch.manual_seed(1)
            predictions.append(model(L))
        torch.testing.assert_close(*predictions)
        assert predictions[0].std() > 1e-3


@pytest.mark.parametrize(("size", "depth"), [(128, 7), (256, 8), (512, 8), (96, 5), (8, 3)])
def test_depth_follows_from_the_size(size, depth):
    encoder = UNetEncoder(size, width=1)
    assert len(encoder.stages) == depth
    assert encoder.info.reductions == tuple(2**i for i in range(1, depth + 1))


@pytest.mark.parametrize(
    ("size", "depth", "message"),
    [
        (96, 7, "depth 7 needs a size that is a multiple of 128, not 96"),
        (100, None, "depth 3 needs a size that is a multiple of 8, not 100"),
        (128, 2, "depth is 2; UNetEncoder needs at least 3"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(size, depth, message):
    with pytest.raises(ValueError, match=message):
        UNetEncoder(size, depth)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (97, 131), (35, 47), (128, 64)])
def test_parts_take_any_size(norm, size):
    network = generator(width=2, norm=norm).eval()
    with torch.no_grad():
        features = network.encoder(torch.rand(1, 1, *size) * 2 - 1)
        alone = network.head(network.decoder(features), size)
        assert alone.shape == network(torch.rand(1, 1, *size)).shape == (1, 2, *size)
    for number, feature in enumerate(features, start=1):
        for side, whole in zip(feature.shape[-2:], size, strict=True):
            assert side == whole >> number or side <= 2, "rounded down"
    assert alone.isfinite().all()
