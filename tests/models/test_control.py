from functools import partial
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import tensor

from lightning_colorize.color import NO_CONDITION
from lightning_colorize.common.errors import UsageError
from lightning_colorize.models.control import NO_CONTROL, Control, condition_of, parse_palette

RED, NAVY = [80.09, 67.20], [47.50, -64.70]  # a and b of sRGB's red and navy
MODEL = SimpleNamespace(device="cpu", label_names=["cat", "dog"])
close = partial(torch.testing.assert_close, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("#ff0000, Navy", [[*RED, 0.5], [*NAVY, 0.5]]),
        ("navy:0.75,#f00:2.25", [[*NAVY, 0.25], [*RED, 0.75]]),
        ("dark green", [[-43.37, 41.86, 1]]),
        ("red:1e-320", [[*RED, 1]]),  # 0 in fp32
    ],
)
def test_palettes_of_names_and_codes(text, rows):
    close(parse_palette(text), tensor(rows + [[0.0] * 3] * (5 - len(rows))))


def test_the_palette_of_an_image_has_its_colors_and_shares(tmp_path):
    image = Image.new("RGB", (80, 40), "red")
    image.paste("navy", (20, 0, 80, 40))
    image.save(tmp_path / "flag, old.png")
    palette = parse_palette("flag, old.png", tmp_path)
    shares = [palette[(palette[:, 0] - color[0]).abs() < 1, 2].sum() for color in (RED, NAVY)]
    close(torch.stack(shares), tensor([0.25, 0.75]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rde", "palette: 'rde' is not a color, such as red or navy:0.7, nor is it an image "),
        ("red,red,red,red,red,red", "give 1 to 5 colors"),
        *((f"red:{share},navy", "shares above 0") for share in ("0", "-1", "nan", "inf")),
        ("red:1e308,navy:1e308", "shares above 0"),  # their sum is infinite
    ],
)
def test_wrong_palettes_are_one_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        parse_palette(text, tmp_path)


def _hints(shape, size, *points):
    painted = torch.zeros(4, *shape, dtype=torch.uint8)
    for row, column, color, alpha in points:
        painted[:, row, column] = tensor([*color, alpha], dtype=torch.uint8)
    return condition_of(MODEL, [Control(painted)], [torch.Size(size)], size).hints[0]


@pytest.mark.parametrize(
    ("shape", "row", "column", "cell"),
    [
        ((1000, 1500), 700, 333, [22, 10]),  # (700.5 * 32 / 1000, 333.5 * 48 / 1500)
        ((1000, 1500), 999, 1499, [31, 47]),
        ((1000, 1500), 31, 30, [1, 0]),  # the border of the cells is at 31.25
        ((33, 49), 16, 24, [16, 24]),  # (16.5 * 32 / 33, 24.5 * 48 / 49)
    ],
)
def test_a_painted_pixel_is_one_of_the_input(shape, row, column, cell):
    hints = _hints(shape, (32, 48), (row, column, (255, 0, 0), 255))
    assert hints[2].nonzero().tolist() == [cell]
    close(hints[:, *cell], tensor([*RED, 1]))
    assert hints.count_nonzero() == 3


def test_colors_of_one_cell_are_averaged_and_faint_ones_left_out():
    points = (0, 0, (255, 0, 0), 255), (1, 1, (0, 0, 128), 128), (2, 2, (255, 0, 0), 127)
    hints = _hints((8, 8), (2, 2), *points)
    close(hints[:, 0, 0], (tensor([*RED, 1]) + tensor([*NAVY, 1])) / 2)
    assert hints[2].sum() == 1
    assert _hints((2, 2), (4, 6), points[0])[2, :2, :3].sum() == 6  # enlarged


def test_each_image_of_a_batch_has_its_own_conditions():
    painted = torch.full((4, 4, 4), 255, dtype=torch.uint8)
    controls = [Control(painted), Control(label="dog", prompt="a dog"), NO_CONTROL]
    controls, sizes = [*controls, Control(palette=parse_palette("red"))], [torch.Size((4, 4))] * 4
    labels, texts, hints, palettes = condition_of(MODEL, controls, sizes, (4, 4))
    assert labels.tolist() == [-1, 1, -1, -1]
    assert texts == ["", "a dog", "", ""]
    assert hints[:, 2].sum(dim=(1, 2)).tolist() == [16, 0, 0, 0]
    assert palettes[..., 2].sum(dim=1).tolist() == [0, 0, 0, 1]
    assert condition_of(MODEL, [NO_CONTROL] * 2, sizes[:2], (4, 4)) is NO_CONDITION
