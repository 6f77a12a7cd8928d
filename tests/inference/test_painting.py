"""What the painting page asks of a model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lightning_colorize.color import to_lab
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference.painting import answer
from lightning_colorize.models.base import Model
from tests.painters import follower

BLUE = torch.tensor([30.0, -60])


def request(painted=(), seeds=(0,), at=None, **more):
    image, hints = np.full((48, 64, 4), 128, np.uint8), np.zeros((3, 48, 64), np.int8)
    for row, column in painted:
        hints[:, row : row + 5, column : column + 5] = np.array([*BLUE, 1])[:, None, None]
    head = {
        "width": 64,
        "height": 48,
        "rows": 48,
        "columns": 64,
        "seeds": list(seeds),
        "at": at,
    } | more
    return json.dumps(head).encode() + b"\n" + image.tobytes() + hints.tobytes()


def answered(model, **options):
    head, _, pixels = answer(model, request(**options), 10**6).partition(b"\n")
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 48, 64, 4)
    return json.loads(head)["candidates"], images


def ab_of(pixel):
    return to_lab(torch.tensor(pixel[:3], dtype=torch.uint8).view(1, 3, 1, 1))[1].flatten()


@pytest.mark.parametrize("strength", [1, 1.4])
@pytest.mark.parametrize("draws", [False, True])
def test_the_color_of_a_hint_is_painted_and_offered_at_its_place(draws, strength):
    model = follower(draws, size=48)
    model.settings = model.settings.updated({"strength": strength})
    _, (grey,) = answered(model)
    seeds = [0, 1, 2] if draws else [0]
    candidates, images = answered(model, painted=[(20, 30)], seeds=seeds, at=[22.5 / 48, 32.5 / 64])
    assert len(images) == len(seeds)
    for image in images:
        assert (image[..., 3] == 128).all()  # the image's own alpha
        assert (ab_of(image[22, 32]) - BLUE).norm() < (40 if draws else 6)
    offered = max(candidates, key=lambda candidate: candidate[2])
    assert (torch.tensor(offered[:2]) - BLUE).norm() < (40 if draws else 10)
    assert sum(share for *_, share in candidates) == pytest.approx(1, abs=1e-4)
    assert np.ptp(grey[..., :3].astype(int), axis=-1).max() < 60 * draws + 2
    again = answered(model, painted=[(20, 30)], seeds=seeds[-1:])[1]
    assert np.array_equal(images[-1:], again)
    assert len(np.unique(images.reshape(len(seeds), -1), axis=0)) == len(seeds)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 65},
        {"height": -1},
        {"width": 10**4, "height": 10**4},
        {"seeds": range(5)},
        {"seeds": [-1]},
        {"at": [1]},
        {"reference": [0, 4]},
        {"reference": [400, 400]},
        {"at": [0.5, float("nan")]},
        {"more": 1},
    ],
)
def test_a_malformed_request_is_refused(change):
    with pytest.raises(ValueError, match=r"validation|pixels|reshape"):
        answer(follower(), request(**change), 10**6)


def rgba_of(name):
    return Image.open(bundled("photographs") / f"{name}.jpg").convert("RGBA").resize((240, 160))


def colored_like(image, reference, hints=()):
    """Return what is refused, and the image as it is colored."""
    sides = {"width": 240, "height": 160, "rows": 160, "columns": 240, "seeds": [0], "at": None}
    planes = np.zeros((3, 160, 240), np.int8)
    for row, column in hints:
        planes[:, row : row + 5, column : column + 5] = np.array([*BLUE, 1])[:, None, None]
    images = image.tobytes() + reference.tobytes() + planes.tobytes()
    head = json.dumps(sides | {"reference": reference.size}).encode()
    head, _, pixels = answer(follower(size=128), head + b"\n" + images, 10**6).partition(b"\n")
    return json.loads(head)["refused"], np.frombuffer(pixels, np.uint8).reshape(160, 240, 4)


def test_a_photograph_is_colored_like_a_reference_but_where_it_is_painted():
    coffee = rgba_of("coffee")
    refused, colored = colored_like(coffee, ImageOps.mirror(coffee), [(120, 200)])
    assert refused == ""
    difference = np.abs(colored.astype(float) - np.asarray(coffee))[..., :3].mean(-1)
    assert np.median(difference) < 10
    assert (ab_of(colored[122, 202]) - BLUE).norm() < 20


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (rgba_of("cat"), "nothing corresponds to the reference"),
        (Image.new("RGBA", (200, 100), "#888"), "the reference image is grey; give a color"),
        (Image.new("RGBA", (20, 10), "red"), "the reference image is smaller than 16 pixels"),
    ],
)
def test_a_useless_reference_is_refused_and_the_photograph_is_colored(reference, message):
    refused, colored = colored_like(rgba_of("coffee"), reference)
    assert refused.startswith(message)
    assert np.ptp(colored[..., :3].astype(int), axis=-1).max() < 3  # as without any hints


def test_hints_that_a_model_does_not_accept_are_refused():
    class Grey(Model):
        size = 48
        conditions = frozenset()

        def predict(self, L, condition):
            return L.new_zeros(len(L), 2, *L.shape[-2:])

    assert answered(Grey())[1].shape == (1, 48, 64, 4)
    with pytest.raises(UsageError, match="accepts no conditions"):
        answer(Grey(), request(painted=[(1, 1)]), 10**6)


def test_an_image_may_be_longer_than_any_input_of_a_network():
    # 20,000 x 4 pixels: the network's input is 5000 x 1.
    sides = {"width": 20_000, "height": 4, "rows": 2, "columns": 9000}
    head = json.dumps(sides | {"seeds": [0], "at": None}).encode()
    hints = np.repeat(np.array([*BLUE, 1], np.int8), 2 * 9000).tobytes()
    answered = answer(follower(size=48), head + b"\n" + bytes(20_000 * 4 * 4) + hints, 10**6)
    assert len(answered.partition(b"\n")[2]) == 20_000 * 4 * 4
