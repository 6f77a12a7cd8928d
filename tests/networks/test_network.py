"""The whole network: its parts are tested, any size is padded and cropped; the router."""

import inspect

import numpy as np
import pytest
import torch

from lightning_colorize.networks import (
    AbHead,
    ColorizationNetwork,
    ConditionedEncoder,
    ConvEncoder,
    Decoder,
    Encoder,
    UpsampleDecoder,
)
from lightning_colorize.networks.router import Router
from tests.networks import test_decoders, test_encoders


def test_all_parts_are_tested():
    def concrete(base):
        for cls in base.__subclasses__():
            if cls.__module__.startswith("lightning_colorize") and not inspect.isabstract(cls):
                yield cls
            yield from concrete(cls)

    encoders = {cls for cls, *_ in test_encoders.CASES.values()}
    assert set(concrete(Encoder)) == encoders | {ConditionedEncoder}  # test_conditioned.py
    decoders = {build.func for build in test_decoders.CASES.values()}
    assert set(concrete(Decoder)) == decoders


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (97, 131), (64, 96)])
def test_any_size_is_padded_and_cropped(size):
    torch.manual_seed(0)
    encoder = ConvEncoder([4, 8, 8, 8])  # multiples of 8
    network = ColorizationNetwork(encoder, UpsampleDecoder(encoder.info), AbHead(32)).eval()
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
