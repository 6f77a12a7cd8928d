"""Every encoder with every decoder, from the registry."""

import inspect

import numpy as np
import pytest
import torch

from lightning_colorize.networks import (
    AbHead,
    Colorizer,
    ConvEncoder,
    Decoder,
    Encoder,
    TimmEncoder,
    UNetEncoder,
    UpsampleDecoder,
)


def concrete(base):
    """Return this package's classes below `base` that can be built."""
    classes = []
    for cls in base.__subclasses__():
        if cls.__module__.startswith("lightning_colorize") and not inspect.isabstract(cls):
            classes.append(cls)
        classes += concrete(cls)
    return [cls for cls in classes if cls.__name__ != "PyramidDecoder"]


ARGUMENTS = {TimmEncoder: {"name": "test_convnext"}, UNetEncoder: {"width": 8}}
ENCODERS = concrete(Encoder)
DECODERS = concrete(Decoder)


def has(decoder, argument):
    return argument in inspect.signature(decoder).parameters


def build(encoder, decoder, steps=2, **arguments):
    """Build a network whose decoder doubles `steps` times, if that is an option."""
    torch.manual_seed(0)
    encoder = encoder(**ARGUMENTS.get(encoder, {}))
    if has(decoder, "out_reduction"):
        arguments["out_reduction"] = encoder.info.reductions[-1] >> steps
    decoder = decoder(encoder.info, **arguments)
    return Colorizer(encoder, decoder, AbHead(decoder.out_channels))


def test_registry_is_walked():
    encoders = {"ResNetEncoder", "ConvEncoder", "VGG16Encoder", "UNetEncoder"}
    assert encoders <= {cls.__name__ for cls in ENCODERS}
    decoders = {"UpsampleDecoder", "DeconvDecoder", "UNetDecoder"}
    assert decoders <= {cls.__name__ for cls in DECODERS}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("decoder", "arguments"),
    [
        pytest.param(cls, arguments, id="-".join([cls.__name__, *map(str, arguments.values())]))
        for cls in DECODERS
        for arguments in ([{"skips": False}, {"skips": True}] if has(cls, "skips") else [{}])
    ],
)
def test_every_pair_trains_at_odd_sizes(encoder, decoder, arguments):
    network = build(encoder, decoder, **arguments)
    prediction = network(torch.rand(2, 1, 35, 47) * 2 - 1)
    assert tuple(prediction.shape) == (2, 2, 35, 47)
    prediction.sum().backward()
    # A parameter without a gradient would also stop data-parallel training.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_parts_work_alone_at_odd_sizes(encoder):
    network = build(encoder, UpsampleDecoder, steps=3, skips=True).eval()
    with torch.no_grad():
        features = network.encoder(torch.rand(1, 1, 97, 131))
        prediction = network.head(network.decoder(features), (97, 131))
    assert tuple(prediction.shape) == (1, 2, 97, 131)
    assert tuple(f.shape[1] for f in features) == network.encoder.info.channels


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (97, 131), (64, 96)])
def test_any_size_is_padded_and_cropped(size):
    torch.manual_seed(0)
    encoder = ConvEncoder([4, 8, 8, 8])  # multiples of 8
    network = Colorizer(encoder, UpsampleDecoder(encoder.info), AbHead(32)).eval()
    L = torch.rand(1, 1, *size) * 2 - 1
    below, right = (-size[0] % 8, -size[1] % 8)
    mode = "reflect" if below < size[0] and right < size[1] else "edge"
    padded = np.pad(L.numpy(), [(0, 0), (0, 0), (0, below), (0, right)], mode=mode)
    with torch.no_grad():
        decoded = network.decoder(encoder(torch.from_numpy(padded)))
        whole = network.head(decoded, (padded.shape[2], padded.shape[3]))
        torch.testing.assert_close(network(L), whole[..., : size[0], : size[1]])
