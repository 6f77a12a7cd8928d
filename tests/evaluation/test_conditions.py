"""What a model does with hints, palettes and labels, on images of few colors."""

import math

import pytest
import torch

from lightning_colorize.color import ColorBatch, delta_e
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.conditions import (
    find_objects,
    measure_conditions,
    palette_distance,
    reveal,
)
from tests.evaluation.stubs import Obeys

BY = ("", ", network", ", diffused", ", optimized")
COLORS = torch.tensor([(30.0, 0), (0, 40), (-12, -16)])


@pytest.fixture
def batch():
    """Three images of one color each."""
    L = torch.full((3, 1, 16, 16), 50.0) + torch.arange(3).view(-1, 1, 1, 1)
    return ColorBatch(L, COLORS[..., None, None].expand(-1, 2, 16, 16), ["a", "b", "c"])


def _values(rows, metric):
    return {row: metrics[metric]["value"] for row, metrics in rows.items()}


def test_hints_are_at_the_same_positions_in_every_batch(batch):
    few, many = (reveal(batch.L, batch.ab, points, seed=4) for points in (2, 9))
    assert (many[:, 2] >= few[:, 2]).all()
    assert ((few[:, 2].sum((1, 2)) > 4) & (few[:, 2].sum((1, 2)) <= 8)).all()  # 2 x 2 pixels each
    assert torch.equal(reveal(batch.L[1:], batch.ab[1:], 9, seed=4), many[1:])
    assert not torch.equal(reveal(batch.L, batch.ab, 2, seed=5), few)
    torch.testing.assert_close(many[:, :2], batch.ab * many[:, 2:])


@pytest.mark.parametrize(("floods", "share"), [(False, 4 / 128), (True, 1)])
def test_a_hint_is_obeyed_and_changes_its_object_or_more(floods, share):
    L = torch.full((1, 1, 16, 16), 40.0)
    ab = torch.zeros(1, 2, 16, 16)
    ab[:, 0, :8], ab[:, 1, 8:], L[:, :, 8:] = 40, -40, 60
    image = ColorBatch(L, ab, ["halves.png"])
    mask = reveal(L, ab, 1)[0, 2]
    assert mask[:8].any() != mask[8:].any()  # in one of the halves
    object_ = find_objects(image, reveal(L, ab, 1))[0, 0]
    assert object_.sum() == 128
    assert (object_ * mask).sum() == 4
    rows = measure_conditions(Obeys(floods), lambda: [image], points=[0, 3])
    assert list(rows) == [
        "nothing",
        *(f"hints {count}{by}" for count in (1, 3) for by in BY),
    ]
    # An image whose object fills it does not count outside, also in the interval.
    flat = ColorBatch(L[:, :, :8].repeat(1, 1, 2, 1), ab[:, :, :8].repeat(1, 1, 2, 1), ["one.png"])
    both = measure_conditions(Obeys(floods), lambda: [image, flat], points=[1])["hints 1, network"]
    assert set(both["changed_outside"].values()) == {float(floods)}
    assert _values(rows, "hint_error")["hints 1"] == pytest.approx(0, abs=0.5)
    assert _values(rows, "hint_error")["hints 1, network"] == pytest.approx(0, abs=0.01)
    assert _values(rows, "changed_inside")["hints 1, network"] == pytest.approx(share)
    assert _values(rows, "changed_outside")["hints 1, network"] == float(floods)
    assert _values(rows, "outside_share")["hints 1, network"] == (0.5 if floods else 0)
    # One color fills the image.
    assert _values(rows, "changed_outside")["hints 1, optimized"] == 1
    psnr = _values(rows, "psnr")
    assert psnr["hints 3, optimized"] > psnr["hints 1, optimized"]


def test_a_hint_that_is_ignored_has_the_error_of_grey(batch):
    model = Obeys()
    model.predict = lambda L, condition: torch.zeros(len(L), 2, 16, 16)
    rows = measure_conditions(model, lambda: [batch], points=[1])
    row = rows["hints 1, network"]
    error = delta_e.ciede2000((batch.L, 0 * batch.ab), (batch.L, batch.ab)).mean().item()
    assert row["hint_error"]["value"] == pytest.approx(error, rel=0.02)
    assert row["changed_inside"]["value"] == 0
    assert math.isnan(row["changed_outside"]["value"])  # the objects fill the images
    assert rows["hints 1"]["hint_error"]["value"] < 1  # it is followed all the same


def test_followed_hints_are_compared_with_the_best_other_use_of_them(batch):
    rows = measure_conditions(Obeys(), lambda: [batch], points=[3])
    psnr = _values(rows, "psnr")
    for count in (1, 3):
        gain = rows[f"hints {count}"]["gain"]
        best = max(psnr[f"hints {count}{by}"] for by in BY[1:])
        assert gain["value"] == pytest.approx(psnr[f"hints {count}"] - best)
        assert gain["low"] <= gain["value"] <= gain["high"]
    assert "gain" not in rows["nothing"]


@pytest.mark.parametrize("sizes", [[3], [2, 1]])
def test_palettes_are_compared_with_the_asked_one_and_another(batch, sizes):
    parts = [batch.chosen(part.tolist()) for part in torch.arange(3).split(sizes)]
    rows = measure_conditions(Obeys(), lambda: parts, palettes=True)
    apart = torch.pdist(COLORS).mean().item()
    mean = COLORS.norm(dim=1).mean().item()
    for name, distance in (("palette_distance", 0), ("other_distance", apart)):
        expected = {"nothing": mean, "own palette": distance, "another palette": distance}
        assert _values(rows, name) == pytest.approx(expected, abs=1e-3)
    assert _values(rows, "psnr")["own palette"] > 60


def test_right_labels_are_compared_with_wrong_ones(batch):
    labels = {"a": "red", "b": "", "c": "green"}
    rows = measure_conditions(Obeys(), lambda: [batch], labels=labels)
    mse = _values(rows, "mse_ab")
    assert mse["right label"] == pytest.approx((10**2 + 40**2 + (8**2 + 16**2)) / 6)
    assert mse["wrong label"] == pytest.approx((50**2 + 40**2 + (32**2 + 16**2)) / 6)
    with pytest.raises(UsageError, match="no image has a label of Obeys: green, red"):
        measure_conditions(Obeys(), lambda: [batch], labels=dict.fromkeys("abc", "."))


def test_the_distance_of_palettes_is_how_far_colors_move():
    one = torch.tensor([(0.0, 0, 1), (0, 0, 0)])
    two = torch.tensor([(30.0, 40, 0.25), (0, 4, 0.75)])
    assert palette_distance(one, two) == pytest.approx(0.25 * 50 + 0.75 * 4)
    assert palette_distance(two, two.flip(0)) == pytest.approx(0, abs=1e-6)
