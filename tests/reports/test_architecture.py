"""The layers of networks, against the numbers that their papers and torchvision publish."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg16

from lightning_colorize.networks import (
    AbHead,
    Colorizer,
    ConvEncoder,
    PatchDiscriminator,
    UNetDecoder,
    UNetEncoder,
    UpsampleDecoder,
    VGG16Encoder,
    parameter_count,
)
from lightning_colorize.networks.heads import DeconvHead
from lightning_colorize.reports.architecture import draw, layers_of, open_networks, total


def colorizer(encoder, decoder, head=AbHead):
    built = decoder(encoder.info)
    return Colorizer(encoder, built, head(built.out_channels))


def test_vgg16_has_its_published_layers():
    """15.35 billion MACs in its convolutions at 224 pixels, for RGB."""
    network = colorizer(VGG16Encoder(pretrained=False), UpsampleDecoder)
    layers = [x for x in layers_of(network, 224) if x.name.startswith("encoder.")]
    published = [m for m in vgg16(weights=None).features if isinstance(m, nn.Conv2d)]
    counts = [sum(p.numel() for p in conv.parameters()) for conv in published]
    assert [layer.parameters for layer in layers] == counts
    assert [layer.output[0] for layer in layers] == [conv.out_channels for conv in published]
    assert sum(layer.macs for layer in layers) == pytest.approx(15.35e9, rel=2e-3)
    assert layers[1].row[:3] == ("encoder.stages.0.2", "Conv2d 3x3, ReLU", "64 x 224 x 224")


def test_pix2pix_has_its_skips_and_nearly_its_parameters():
    """54.414 million for RGB to RGB at 256 pixels; L and ab have three channels less."""
    network = colorizer(UNetEncoder(size=256), UNetDecoder, DeconvHead)
    layers = layers_of(network, 256)
    three_channels = 2 * 64 * 16 + 128 * 16 + 1
    parameters = sum(x.parameters for x in layers)
    assert parameters + three_channels == pytest.approx(54.414e6, abs=500)
    names = [f"encoder.stages.{level}.0" for level in range(7)]
    assert [name for x in layers for name in x.skips] == names[::-1]
    assert [x.skips for x in layers][-1] == names[:1]
    discriminator = PatchDiscriminator(norm="spectral")
    rows = layers_of(discriminator, 64)
    assert sum(x.parameters for x in rows) == parameter_count(discriminator)[0]
    assert rows[0].modules[0] == "Conv2d 4x4 /2"


@pytest.mark.parametrize("skips", [True, False])
def test_skips_are_found_where_the_decoder_uses_them(skips):
    network = colorizer(ConvEncoder([4, 8]), lambda info: UpsampleDecoder(info, skips=skips))
    layers = layers_of(network, 32)
    assert [name for x in layers for name in x.skips] == ["encoder.stages.0.1.0"] * skips
    assert draw(layers, "a & b").count("<path") == int(skips)


class Scaled(nn.Module):
    """A parameter around a layer, and a product outside of layers."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(2, 2)
        self.linear = nn.Linear(3, 3)

    def forward(self, L):
        return self.linear(L[..., :3]) * self.scale @ torch.ones(3, 5)


def test_nothing_is_lost_or_counted_twice():
    linear, other = layers_of(Scaled(), 4)
    assert (linear.parameters, linear.macs) == (12 + 3, 4 * 3 * 3)
    assert (other.name, other.parameters, other.macs) == ("other", 6, 4 * 3 * 5)


@pytest.mark.parametrize("name", ["flow", "hints"])
def test_all_parameters_of_an_experiment_are_listed(name):
    networks, size = open_networks(Path(f"experiments/{name}.yaml"))
    trained, frozen = parameter_count(networks["net"])
    parameters = trained + frozen
    layers = layers_of(networks["net"], size)
    assert sum(layer.parameters for layer in layers) == parameters
    assert f"{parameters:,} parameters, {frozen:,} of them" in total(networks["net"], layers, size)
    assert "encoder" in draw(layers, name)
