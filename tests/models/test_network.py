"""Our networks: one image alone is computed by the kernels of a batch, where they are the same."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_colorize.color import NO_CONDITION, ColorBatch, to_lab, to_lightness
from lightning_colorize.evaluation.systems import System, square_view
from lightning_colorize.losses import L1, MSE, CrossEntropy
from lightning_colorize.networks import ClassificationHead, ConvEncoder, RgbHead, UpsampleDecoder
from lightning_colorize.tasks import RegressionTask

L = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100


def test_coloring_leaves_the_decoding_of_a_network_as_it_is():
    head = partial(ClassificationHead, vividness=1 / 3, temperature=0.7654321)
    task = RegressionTask(ConvEncoder([8, 16]), CrossEntropy(), head=head).eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    model = task.to_model()
    model.colors(model.predict(L, NO_CONDITION), model.settings)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize("keep", [True, False])
def test_rgb_is_compared_as_predicted_unless_the_lightness_is_kept(keep):
    torch.manual_seed(0)
    head = partial(RgbHead, keep_lightness=keep)
    task = RegressionTask(ConvEncoder([8, 8]), MSE(), head=head)
    nn.init.normal_(task.net.head.conv.weight)
    model = task.eval().to_model()
    model.size = 24
    rgb = (torch.rand(1, 3, 24, 24) * 255).byte()
    lightness, ab = to_lab(rgb)
    system, batch = System("a", Path(), model), ColorBatch(lightness, ab, ["x"])
    with torch.inference_mode():
        predicted = model.predict(lightness, NO_CONDITION).values
        assert system.load(batch, square_view(24)) == []
        painted = system.predict(batch)
        whole = system.color_whole("x", rgb[0].repeat_interleave(2, 1), 24)
    expected = lightness if keep else to_lightness(predicted)
    torch.testing.assert_close(painted.L, expected, atol=0.5, rtol=0)
    torch.testing.assert_close(painted.ab[0], to_lab(predicted)[1], atol=1.5, rtol=0)
    assert whole.shape == (3, 48, 24)
    # In training, the loss compares RGB.
    target = task.with_target(batch).target
    torch.testing.assert_close(target * 255, rgb.float(), atol=0.1, rtol=0)


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
