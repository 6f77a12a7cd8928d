"""Every encoder with every decoder."""

import inspect

import numpy as np
import pytest
import torch

from lightning_colorize.networks import (
    AbHead,
    Colorizer,
    ColorQueryDecoder,
    ConvEncoder,
    Decoder,
    DeconvDecoder,
    Encoder,
    MobileNetV2Encoder,
    PixelShuffleDecoder,
    RegNetEncoder,
    ResNetEncoder,
    TimmEncoder,
    UNetDecoder,
    UNetEncoder,
    UpsampleDecoder,
    VGG16Encoder,
)
from lightning_colorize.networks.router import Router

ENCODERS = {
    ConvEncoder: {"widths": [4, 8, 12, 16]},
    UNetEncoder: {"width": 8},
    ResNetEncoder: {},
    MobileNetV2Encoder: {},
    RegNetEncoder: {},
    VGG16Encoder: {},
    TimmEncoder: {"name": "test_convnext"},
}
DECODERS = [
    (UpsampleDecoder, {}),
    (UpsampleDecoder, {"skips": True, "mode": "nearest"}),
    (DeconvDecoder, {"skips": True}),
    (PixelShuffleDecoder, {"skips": True}),
    (ColorQueryDecoder, {}),
    (UNetDecoder, None),
]


def test_all_parts_are_listed():
    def concrete(base):
        for cls in base.__subclasses__():
            if cls.__module__.startswith("lightning_colorize") and not inspect.isabstract(cls):
                yield cls
            yield from concrete(cls)

    assert set(concrete(Encoder)) == set(ENCODERS)
    assert set(concrete(Decoder)) == {cls for cls, _ in DECODERS}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("decoder", "arguments"), DECODERS)
def test_every_pair_trains_at_odd_sizes(encoder, decoder, arguments):
    torch.manual_seed(0)
    encoder = encoder(**ENCODERS[encoder])
    if arguments is not None:
        arguments = {**arguments, "out_reduction": encoder.info.reductions[-1] // 4}
    decoder = decoder(encoder.info, **arguments or {})
    network = Colorizer(encoder, decoder, AbHead(decoder.out_channels))
    prediction = network(torch.rand(2, 1, 35, 47) * 2 - 1)
    assert tuple(prediction.shape) == (2, 2, 35, 47)
    prediction.sum().backward()
    # A parameter without a gradient would also stop data-parallel training.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())

    # The parts alone, without padding.
    with torch.no_grad():
        features = encoder.eval()(torch.rand(1, 1, 97, 131))
        assert tuple(network.head(decoder.eval()(features), (97, 131)).shape) == (1, 2, 97, 131)


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


def test_router_weighs_a_category_with_few_images_as_much_as_one_with_many():
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(400, 1, generator=generator)
    few = torch.randn(20, 1, generator=generator) + 2
    router = Router(1, ["many", "few"])
    router.fit(torch.cat([many, few]), torch.tensor([0] * 400 + [1] * 20))
    probabilities = router(torch.tensor([[-1.0], [1.0], [3.0]]))
    assert probabilities.argmax(1)[[0, 2]].tolist() == [0, 1]
    assert 0.3 < probabilities[1, 0] < 0.7  # halfway
