"""How a model follows references: which images have which, and what is measured."""

import math

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.common.bundled import bundled
from lightning_colorize.evaluation import references
from lightning_colorize.evaluation.conditions import measure_conditions
from lightning_colorize.models.baseline import baseline_models

CHANGED = ["the image itself", "its mirror image", "another frame"]
COLORS = torch.tensor([(30.0, 0), (0, 40), (0, 0), (-12, -16), (40, 40)])


def _folder_of(name):
    return name.rpartition("/")[0] or "."


def _flat(*names):
    """Return images of one color each; the third is grey."""
    ab = COLORS[: len(names), :, None, None].expand(-1, 2, 20, 20)
    return ColorBatch(torch.full((len(names), 1, 20, 20), 50.0), ab, list(names))


def _found(*names, sizes=(2, 3)):
    """Return the references of each row as indices of the image they are; None for none."""
    batch = _flat(*names)
    parts = [batch.chosen(part.tolist()) for part in torch.arange(len(names)).split(list(sizes))]
    rows = references.find_references(parts, _folder_of)

    def index(each):
        if not each:
            return None
        _, ab = to_lab(each[0].rgb[None])
        return int((COLORS - ab.mean((0, 2, 3))).norm(dim=1).argmin())

    return {row: [*map(index, found)] for row, found in rows.items()}


def test_references_are_of_the_same_folder_or_of_another():
    found = _found("a/0", "a/1", "b/2", "b/3", "c/4")
    assert list(found) == [*CHANGED, "another of its folder", "an unrelated image"]
    assert found["the image itself"] == [0, 1, None, 3, 4]  # a grey image is not a reference
    assert found["its mirror image"] == found["the image itself"]
    assert found["another of its folder"] == [1, 0, 3, None, None]  # 3 has a grey one, 4 is alone
    assert found["an unrelated image"] == [None, 3, 4, 0, 1]


def test_without_folders_an_unrelated_image_is_half_way_round_the_set():
    found = _found("0", "1", "2", "3", "4")
    assert list(found) == [*CHANGED, "an unrelated image"]
    assert found["an unrelated image"] == [None, 3, 4, 0, 1]
    # Each folder has one image.
    assert list(_found("a/0", "b/1", sizes=(2,))) == list(found)
    assert _found("0", sizes=(1,))["an unrelated image"] == [None]


def test_another_frame_is_nearer_darker_and_warmer(photographs):
    batch = ColorBatch(*to_lab(photographs[:1]), ["a"])
    rows = references.find_references([batch], _folder_of)
    ((itself,),), ((mirror,),), ((frame,),) = (rows[row] for row in CHANGED)
    assert torch.equal(itself.rgb, (photographs[0] * 255).round().byte())
    assert torch.equal(mirror.rgb.flip(-1), itself.rgb)
    smaller = TF.resize(frame.rgb, [52, 52], antialias=True)  # the size that was enlarged
    (L, ab), (L_frame, ab_frame) = to_lab(itself.rgb[None, :, 12:, 12:]), to_lab(smaller[None])
    assert L_frame.mean() < 0.95 * L.mean()
    assert (L_frame - L).std() < 0.3 * L.std()  # in place
    assert 1 < (ab_frame - ab)[:, 1].mean() < 6


def test_what_is_near_a_correspondence_corresponds(monkeypatch):
    hint = torch.zeros(3, 32, 32)
    hint[2, 9, 20] = 0.5
    monkeypatch.setattr(references, "hints_like", lambda found, rgb: hint)
    batch = ColorBatch(torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, 32, 32), ["a"])
    hints, near = references.hints_of(batch, [[]])
    assert torch.equal(hints[0], hint)
    assert near[0, 0, 7:12, 18:23].all()
    assert near.sum() == 25


def test_colors_follow_an_image_itself_and_not_an_unrelated_one():
    images = [Image.open(bundled("photographs") / f"{name}.jpg") for name in ("coffee", "cat")]
    rgb = [TF.pil_to_tensor(each.convert("RGB").resize((96, 96))) for each in images]
    grey = torch.full_like(rgb[0], 99)
    batch = ColorBatch(*to_lab(torch.stack([*rgb, grey])), ["a/coffee", "b/cat", "b/grey"])
    parts = [batch.chosen([0]), batch.chosen([1, 2])]
    rows = measure_conditions(baseline_models(None)["grey"], lambda: parts, folder_of=_folder_of)
    assert list(rows) == ["nothing", *CHANGED, "another of its folder", "an unrelated image"]
    names = ("psnr", "corresponding", "changed_outside", "changed_inside")
    psnr, share, outside, inside = (
        {row: each[metric]["value"] for row, each in rows.items()} for metric in names
    )
    assert psnr["the image itself"] > psnr["another frame"] > psnr["nothing"] + 1
    assert psnr["its mirror image"] == pytest.approx(psnr["the image itself"], abs=0.2)
    assert share["the image itself"] == pytest.approx(2 / 3, abs=0.02)  # the grey one has none
    assert 0.2 < share["another frame"] < share["the image itself"]
    assert inside["the image itself"] > 0.5
    # Neither the grey image nor the coffee resembles the cat, so nothing changes.
    for row in ("another of its folder", "an unrelated image"):
        assert (psnr[row], share[row], outside[row]) == (psnr["nothing"], 0, 0)
        assert math.isnan(inside[row])
