"""Our networks: one image alone is computed by the kernels of a batch, where they are the same."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_colorize.color import NO_CONDITION, ColorBatch, Condition, to_lab, to_lightness
from lightning_colorize.color.hints import CONFIDENCE
from lightning_colorize.evaluation.systems import System, square_view
from lightning_colorize.losses import MSE, CrossEntropy
from lightning_colorize.networks import ClassificationHead, ConditionedEncoder, ConvEncoder, RgbHead
from lightning_colorize.tasks import RegressionTask

L = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100


def test_coloring_leaves_the_decoding_of_a_network_as_it_is():
    head = partial(ClassificationHead, vividness=1 / 3, temperature=0.7654321)
    task = RegressionTask(ConvEncoder([8, 16]), CrossEntropy(), head=head).eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    model = task.to_model()
    model.colors(model.predict(L, NO_CONDITION), model.settings)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize("references", [True, False])
def test_only_a_network_that_is_trained_with_references_sees_them(references):
    encoder = ConditionedEncoder(ConvEncoder([8, 16]), palette=False, references=references)
    model = RegressionTask(encoder, MSE()).eval().to_model()
    hints = torch.zeros(1, 3, 32, 32)
    hints[:, :, 8, 8] = torch.tensor([50.0, 20, CONFIDENCE])
    seen = []
    encoder.register_forward_hook(lambda _, given, __: seen.append(given[1].hints))
    with torch.inference_mode():
        colored = model.color(L, Condition(hints=hints))[0]
    assert any(each is not None for each in seen) == references
    assert colored[0, 0, 8, 8] > 10


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
