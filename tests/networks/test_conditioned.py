"""An encoder with conditions: nothing changes without them, each acts, all are dropped."""

from functools import partial

import pytest
import torch

from lightning_colorize.color import AB_SCALE, NO_CONDITION, ColorBatch, Condition
from lightning_colorize.color.hints import CONFIDENCE
from lightning_colorize.networks import (
    AbHead,
    ClassificationHead,
    ColorizationNetwork,
    ConditionedEncoder,
    ConvEncoder,
    MobileNetV2Encoder,
    TimmEncoder,
    UNetEncoder,
    UpsampleDecoder,
)
from lightning_colorize.networks.base import TextEncoder
from tests.networks.test_decoders import perturbed

ENCODERS = {
    "conv": partial(ConvEncoder, widths=[4, 6]),
    "unet": partial(UNetEncoder, size=8, width=2),
    "mobilenet": partial(MobileNetV2Encoder, levels=3, normalization="imagenet"),
    "0..1": partial(MobileNetV2Encoder, levels=2, normalization="half"),
    "timm": partial(TimmEncoder, "test_resnet", levels=[1, 3]),
}


class Letters(TextEncoder):
    """Counts the letters a and b."""

    width = 2

    def __call__(self, texts):
        return torch.tensor([[text.count(letter) for letter in "ab"] for text in texts]).float()


def condition(count=2, size=32):
    hints = torch.zeros(count, 3, size, size)
    hints[:, :, 3:5, 7:9] = torch.tensor([50.0, -20.0, 1.0]).view(3, 1, 1)
    palettes = torch.zeros(count, 5, 3)
    palettes[:, 0] = torch.tensor([30.0, 10.0, 1.0])
    return Condition(torch.tensor([1] * count), ["ab"] * count, hints, palettes)


def colorizer(encoder, head=AbHead):
    decoder = UpsampleDecoder(encoder.info)
    return ColorizationNetwork(encoder, decoder, head(decoder.out_channels)).eval()


def conditioned(name="conv"):
    torch.manual_seed(0)
    return ConditionedEncoder(ENCODERS[name](), labels=2, text=Letters(), width=8)


@pytest.mark.parametrize("name", ENCODERS)
def test_starts_as_the_network_without_conditions(name):
    plain = colorizer(ENCODERS[name]())
    ours = colorizer(conditioned(name))
    ours.load_state_dict(plain.state_dict())
    L = torch.rand(2, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(ours(L, condition()._replace(hints=None)), plain(L))
    torch.testing.assert_close(ours(L), plain(L))
    again = colorizer(conditioned(name))
    again.load_state_dict(perturbed(ours).state_dict())
    assert torch.equal(again(L, condition()), ours(L, condition()))


@pytest.mark.parametrize("kind", ["labels", "texts", "hints", "palettes"])
def test_each_condition_acts_alone_and_on_its_image(kind):
    network = colorizer(perturbed(conditioned()))
    none = {"labels": torch.tensor([-1]), "texts": [""], "palettes": torch.zeros(1, 5, 3)}
    none["hints"] = torch.zeros(1, 3, 32, 32)
    without = Condition(**none)
    given = Condition(**none | {kind: getattr(condition(1), kind)})
    L = torch.rand(2, 1, 32, 32) * 2 - 1
    outputs = network(L, given.joined(without))
    # A condition of zeros is none at all.
    torch.testing.assert_close(outputs[1:], network(L[1:], NO_CONDITION))
    assert (outputs[:1] - network(L[:1])).abs().max() > 1e-4


@pytest.mark.parametrize("head", [AbHead, ClassificationHead])
def test_takes_a_hint_at_its_place_before_training(head):
    torch.manual_seed(0)
    network = colorizer(conditioned(), head)
    L = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    prediction = network(L, Condition(hints=condition(1).hints))
    ab = network.to_ab(prediction, (32, 32))[0] * AB_SCALE
    # The hint is the color 50, -20; the prediction without it is grey.
    assert ab[:, 4, 8].tolist() == pytest.approx([50, -20], abs=15)
    assert ab[:, 28, 28].norm() < ab[:, 4, 8].norm() * 0.9


def test_hints_fit_a_padded_image():
    network = colorizer(perturbed(conditioned("unet")))
    L, given = torch.rand(1, 1, 29, 31) * 2 - 1, condition(1)
    hints = given.hints[..., :29, :31]
    assert network(L, Condition(hints=hints)).shape == (1, 2, 29, 31)


def test_half_of_the_images_lack_each_condition():
    torch.manual_seed(0)
    encoder, count = conditioned(), 400
    batch = ColorBatch(
        torch.rand(count, 1, 16, 16) * 100,
        torch.rand(count, 2, 16, 16) * 100,
        [""] * count,
        condition=Condition(torch.ones(count, dtype=torch.int64), ["ab"] * count),
    )
    given = encoder.simulate(batch)
    has = torch.stack(
        [
            given.labels == 1,
            torch.tensor([bool(text) for text in given.texts]),
            given.hints[:, 2].flatten(1).any(1),
            given.palettes[..., 2].any(1),
        ]
    ).float()
    for share in has.mean(1).tolist():
        assert share == pytest.approx(0.5, abs=0.08)
    assert torch.corrcoef(has).fill_diagonal_(0).abs().max() < 0.2
    assert not ConvEncoder(widths=[4]).simulate(batch).hints


def test_half_of_the_hints_can_be_references():
    torch.manual_seed(0)
    encoder = ConditionedEncoder(ENCODERS["conv"](), palette=False, references=True)
    batch = ColorBatch(torch.zeros(400, 1, 32, 32), torch.full((400, 2, 32, 32), 30.0), [""] * 400)
    masks = encoder.simulate(batch).hints[:, 2].flatten(1)
    painted, alike = ((masks == value).any(1) for value in (1, CONFIDENCE))
    assert not (painted & alike).any()
    assert painted.float().mean() == pytest.approx(0.25, abs=0.06)
    assert alike.float().mean() == pytest.approx(0.23, abs=0.06)  # the smallest have no cell


def test_no_condition_is_refused():
    with pytest.raises(ValueError, match="at least one of hints, palette, labels and text"):
        ConditionedEncoder(ENCODERS["conv"](), hints=False, palette=False)
    with pytest.raises(ValueError, match="references are hints"):
        ConditionedEncoder(ENCODERS["conv"](), hints=False, references=True)
    only = ConditionedEncoder(ENCODERS["conv"](), palette=False)
    assert only.conditions == {"hints"}
    assert len(only(torch.rand(1, 1, 8, 8))) == 2


def test_more_class_names_than_the_network_has_room_for():
    encoder = conditioned()
    state = encoder.state_dict()
    state["_extra_state"] = torch.tensor(list(b'["cat", "dog", "cow"]'), dtype=torch.uint8)
    with pytest.raises(ValueError, match="labels is 2"):
        encoder.load_state_dict(state)
