from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import tensor

from lightning_colorize.color import NO_CONDITION
from lightning_colorize.common.errors import UsageError
from lightning_colorize.models.control import NO_CONTROL, Control, condition_of, parse_palette

RED, NAVY = [80.09, 67.20], [47.51, -64.70]  # a and b of sRGB's red and navy
MODEL = SimpleNamespace(device="cpu", label_names=["cat", "dog"])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("red", [[*RED, 1]]),
        ("#ff0000, Navy", [[*RED, 0.5], [*NAVY, 0.5]]),
        ("navy:0.75,#f00:2.25", [[*NAVY, 0.25], [*RED, 0.75]]),
        ("white,gray,black,red", [[0, 0, 0.25]] * 3 + [[*RED, 0.25]]),
        ("dark green", [[-43.37, 41.86, 1]]),
    ],
)
def test_palettes_of_names_and_codes(text, rows):
    palette = parse_palette(text)
    expected = rows + [[0, 0, 0]] * (5 - len(rows))
    torch.testing.assert_close(palette, tensor(expected), rtol=0, atol=0.1)


def test_the_palette_of_an_image_has_its_colors_and_shares(tmp_path):
    image = Image.new("RGB", (80, 40), "red")
    image.paste("navy", (20, 0, 80, 40))
    image.save(tmp_path / "flag, old.png")
    palette = parse_palette("flag, old.png", tmp_path)
    for color, share in ((RED, 0.25), (NAVY, 0.75)):
        own = (palette[:, :2] - tensor(color)).norm(dim=1) < 1
        assert float(palette[own, 2].sum()) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rde", "rde: No such file or directory; nor is 'rde' a color"),
        ("red,", "nor is '' a color"),
        ("red:much", "nor is 'red:much' a color"),
        ("broken.png", "broken.png: not an image"),
        ("red,red,red,red,red,red", "give 1 to 5 colors"),
        *((f"red:{share},navy", "shares above 0") for share in ("0", "-1", "nan", "inf")),
    ],
)
def test_wrong_palettes_are_one_line(tmp_path, text, message):
    (tmp_path / "broken.png").write_text("broken")
    with pytest.raises(UsageError, match=message):
        parse_palette(text, tmp_path)


def _painted(height, width, *points):
    """Return transparent hints with some pixels: row, column, color, alpha."""
    hints = torch.zeros(4, height, width, dtype=torch.uint8)
    for row, column, color, alpha in points:
        hints[:, row, column] = tensor([*color, alpha], dtype=torch.uint8)
    return hints


def _hints(painted, size, padded=None):
    control = Control(hints=painted)
    return condition_of(MODEL, [control], [torch.Size(size)], padded or size).hints[0]


@pytest.mark.parametrize(
    ("shape", "row", "column", "cell"),
    [
        ((1000, 1500), 700, 333, (22, 10)),  # (700.5 * 32 / 1000, 333.5 * 48 / 1500)
        ((1000, 1500), 999, 1499, (31, 47)),
        ((1000, 1500), 31, 30, (1, 0)),  # the border of the cells is at 31.25
        ((33, 49), 16, 24, (16, 24)),
        ((32, 48), 3, 5, (3, 5)),
    ],
)
def test_a_painted_pixel_is_one_of_the_input(shape, row, column, cell):
    hints = _hints(_painted(*shape, (row, column, (255, 0, 0), 255)), (32, 48))
    assert hints[2].nonzero().tolist() == [list(cell)]
    torch.testing.assert_close(hints[:, *cell], tensor([*RED, 1]), rtol=0, atol=0.1)
    assert hints.count_nonzero() == 3


def test_colors_of_one_cell_are_averaged_and_faint_ones_left_out():
    points = (0, 0, (255, 0, 0), 255), (1, 1, (0, 0, 128), 128), (2, 2, (255, 0, 0), 127)
    hints = _hints(_painted(8, 8, *points), (2, 2))
    expected = [(a + b) / 2 for a, b in zip(RED, NAVY, strict=True)]
    torch.testing.assert_close(hints[:, 0, 0], tensor([*expected, 1]), rtol=0, atol=0.1)
    assert hints[2].sum() == 1


def test_small_hints_are_enlarged_and_padded_as_the_image_is():
    hints = _hints(_painted(2, 2, (0, 1, (255, 0, 0), 255)), (4, 6), padded=(8, 8))
    own = torch.zeros(4, 6)
    own[:2, 3:] = 1
    assert torch.equal(hints[2, :4, :6], own)
    assert hints[2, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]  # mirrored
    assert hints.shape == (3, 8, 8)


def test_each_image_of_a_batch_has_its_own_conditions():
    red = _painted(4, 4, (0, 0, (255, 0, 0), 255))
    controls = [
        Control(hints=red),
        Control(label="dog", prompt="a dog"),
        Control(palette=parse_palette("red")),
        NO_CONTROL,
    ]
    sizes = [torch.Size((4, 4))] * 4
    labels, texts, hints, palettes = condition_of(MODEL, controls, sizes, (4, 4))
    assert labels.tolist() == [-1, 1, -1, -1]
    assert texts == ["", "a dog", "", ""]
    assert hints[:, 2].sum(dim=(1, 2)).tolist() == [1, 0, 0, 0]
    assert palettes[..., 2].sum(dim=1).tolist() == [0, 0, 1, 0]
    assert condition_of(MODEL, [NO_CONTROL] * 2, sizes[:2], (4, 4)) is NO_CONDITION
    assert condition_of(MODEL, controls[1:2], sizes[:1], (4, 4)).hints is None


@pytest.mark.parametrize(
    ("mode", "size", "reason"),
    [
        ("RGBA", (101, 50), None),
        ("LA", (200, 100), None),
        ("RGBA", (97, 50), "another aspect ratio than the image: 97 x 50 pixels, not 200 x 100"),
        ("RGBA", (50, 100), "another aspect ratio"),
        ("RGB", (200, 100), "are opaque; paint on a transparent layer"),
    ],
)
def test_hints_are_read_for_their_image(tmp_path, mode, size, reason):
    Image.new(mode, size).save(tmp_path / "hints.png")
    control = Control(hints=tmp_path / "hints.png", label="cat")
    if reason is None:
        assert control.read(100, 200).hints.shape == (4, *size[::-1])
        assert control.read(100, 200).label == "cat"
        return
    with pytest.raises(UsageError, match=rf"^the hints .*hints.png .*{reason}"):
        control.read(100, 200)
    with pytest.raises(UsageError, match=r"the hints .*none.png: No such file"):
        replace(control, hints=tmp_path / "none.png").read(100, 200)
