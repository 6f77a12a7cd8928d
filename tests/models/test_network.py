"""Our networks: one image alone is computed by the kernels of a batch, where they are the same."""

from functools import partial

import pytest
import torch
from torch import nn

from lightning_colorize.color import NO_CONDITION
from lightning_colorize.losses import L1, CrossEntropy
from lightning_colorize.networks import ClassificationHead, ConvEncoder, UpsampleDecoder
from lightning_colorize.tasks import RegressionTask

L = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100


def test_coloring_leaves_the_decoding_of_a_network_as_it_is():
    head = partial(ClassificationHead, vividness=1 / 3, temperature=0.7654321)
    task = RegressionTask(ConvEncoder([8, 16]), CrossEntropy(), head=head).eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    model = task.to_model()
    model.colors(model.predict(L, NO_CONDITION), model.settings)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def _model(norm="batch"):
    torch.manual_seed(0)
    decoder = partial(UpsampleDecoder, norm=norm)
    task = RegressionTask(ConvEncoder([32, 32]), L1(), decoder=decoder).eval()
    nn.init.normal_(task.net.head.conv.weight)
    return task.to_model()


def _by_name(network):
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and module.stride == (1, 1)
        ):
            module.padding = "same"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda network: network.double(), id="double"),
        pytest.param(lambda network: network.bfloat16(), id="bfloat16"),
        pytest.param(_by_name, id="padding-by-name"),
        pytest.param(lambda network: network.compile(backend="eager"), id="compiled"),
    ],
)
@torch.inference_mode()
def test_a_lone_image_has_the_colors_of_a_batch(change):
    model = _model()
    change(model.network)
    alone = model.predict(L, NO_CONDITION).values
    batch = model.predict(L.repeat(3, 1, 1, 1), NO_CONDITION).values
    assert alone.dtype == batch.dtype
    torch.testing.assert_close(alone[0], batch[0], rtol=0.01, atol=0.01)


@torch.inference_mode()
def test_a_lone_image_is_computed_in_the_precision_around():
    model = _model()
    with torch.autocast("cpu", torch.bfloat16):
        alone = model.predict(L, NO_CONDITION).values
        batch = model.predict(L.repeat(3, 1, 1, 1), NO_CONDITION).values
    assert torch.equal(alone[0], batch[0])
    assert not torch.equal(alone, model.predict(L, NO_CONDITION).values)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_a_lone_image_has_every_bit_of_a_batch(norm, threads):
    model = _model(norm)
    model.network.to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = model.predict(L, NO_CONDITION).values
        batch = model.predict(torch.cat([L, 100 - L]), NO_CONDITION).values
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone[0], batch[0])
