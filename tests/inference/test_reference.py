"""Colors like those of a reference photograph."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import Colorizer
from lightning_colorize.models.control import resize_hints


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer.from_pretrained()


@pytest.fixture(scope="module")
def coffee():
    return Image.open(bundled("photographs") / "coffee.jpg").convert("RGB")


@pytest.fixture(scope="module")
def another_view(coffee):
    """The same scene, mirrored, nearer and darker."""
    width, height = coffee.size
    view = ImageOps.mirror(coffee.crop((width // 6, height // 6, width, height)))
    return view.resize((400, 300)).point(lambda value: value * 0.9)


def _error(one, other):
    return np.abs(np.asarray(one, float) - np.asarray(other, float)).mean()


def test_a_photograph_gets_the_colors_of_another_view(colorizer, coffee, another_view):
    grey = coffee.convert("L")
    plain, alike = colorizer.colorize(grey), colorizer.colorize(grey, reference=another_view)
    assert _error(alike, coffee) < 0.4 * _error(plain, coffee)
    # Painted hints replace the reference's.
    hints = Image.new("RGBA", coffee.size)
    center = coffee.width // 2, coffee.height // 2
    hints.paste((0, 0, 255, 255), (center[0], center[1], center[0] + 30, center[1] + 30))
    red, _, blue = colorizer.colorize(grey, hints=hints, reference=another_view).getpixel(
        (center[0] + 15, center[1] + 15)
    )
    assert blue > red
    red, _, blue = colorizer.colorize(grey, hints=hints, reference=another_view).getpixel(
        (center[0] + 36, center[1] + 15)
    )
    assert blue > red  # beside it, too


def test_a_long_image_and_one_for_which_memory_is_short_are_colored(colorizer, another_view):
    strip = Image.new("L", (3000, 3), 128)
    assert colorizer.colorize(strip, reference=another_view).size == (3000, 3)
    hints = torch.zeros(3, 256, 256)
    hints[:, 101, 77] = torch.tensor([9.0, -9, 0.5])
    smaller = resize_hints(hints, torch.Size((100, 100)))
    assert smaller[0, :, 39, 30].tolist() == [9, -9, 0.5]
    assert smaller[0, 2].sum() == 0.5


def test_another_scene_changes_nothing(colorizer, another_view):
    cat = Image.open(bundled("photographs") / "cat.jpg")
    assert _error(colorizer.colorize(cat, reference=another_view), colorizer.colorize(cat)) == 0


def test_references_are_of_all_images_or_by_name(command, coffee, another_view, tmp_path):
    for name in ("in", "references"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        coffee.convert("L").resize((200, 150)).save(tmp_path / f"in/{name}.png")
    another_view.save(tmp_path / "references/b.jpg")
    (tmp_path / "table.csv").write_text("image,reference\nin/b.png,references/b.jpg\n")
    colored = {}
    for out, words in {
        "plain": (),
        "all": ("--reference", tmp_path / "references/b.jpg"),
        "named": ("--reference", tmp_path / "references"),
        "table": ("--controls", tmp_path / "table.csv"),
    }.items():
        assert command("colorize", tmp_path / "in", tmp_path / out, "--quiet", *words) == 0
        colored[out] = [(tmp_path / out / f"{name}.png").read_bytes() for name in "ab"]
    plain, alike = colored["plain"][0], colored["all"][0]
    assert plain != alike
    assert colored["all"] == [alike, alike]
    assert colored["named"] == colored["table"] == [plain, alike]
    lines = map(json.loads, (tmp_path / "named/manifest.jsonl").read_text().splitlines())
    asked = {line["input"][-5]: line["control"] for line in lines}
    assert asked == {"a": {}, "b": {"reference": str(tmp_path / "references/b.jpg")}}


def test_a_reference_without_correspondences_is_noted(command, another_view, tmp_path):
    another_view.save(tmp_path / "coffee.png")
    cat = bundled("photographs") / "cat.jpg"
    hints = Image.new("RGBA", Image.open(cat).size)
    hints.paste("red", (50, 50, 70, 70))
    hints.save(tmp_path / "hints.png")
    words = ("colorize", cat, tmp_path / "out", "--reference", tmp_path / "coffee.png", "--quiet")
    for more in ((), ("--hints", tmp_path / "hints.png", "--overwrite")):
        assert command(*words, *more) == 0
        line = (tmp_path / "out/manifest.jsonl").read_text().splitlines()[-1]
        assert json.loads(line)["fallbacks"] == ["nothing corresponds to the reference"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Image.new("RGB", (1, 1), "red"), "is smaller than 16 pixels"),
        (Image.new("RGB", (400, 300), "#888"), "is grey; give a color photograph"),
    ],
)
def test_a_useless_reference_is_refused(colorizer, coffee, tmp_path, reference, message):
    reference.save(tmp_path / "a.png")
    for given in (reference, tmp_path / "a.png"):
        with pytest.raises(UsageError, match=message):
            colorizer.colorize(coffee, reference=given)
    with pytest.raises(UsageError, match=r"b\.png: No such file"):
        colorizer.colorize(coffee, reference=tmp_path / "b.png")


def test_animations_large_and_second_references_are_refused(error_of, coffee, tmp_path):
    (references := tmp_path / "references").mkdir()
    coffee.save(tmp_path / "coffee.png")
    frames = {"save_all": True, "append_images": [coffee.rotate(5)]}
    coffee.save(references / "coffee.gif", **frames)
    words = ("colorize", tmp_path / "coffee.png", tmp_path / "out", "--reference", references)
    assert error_of(*words).endswith("coffee.gif: animated; give a still image")
    coffee.resize((10000, 10000)).save(references / "coffee.gif")
    assert error_of(*words).endswith("coffee.gif: 10000 x 10000 pixels; reduce it")
    coffee.save(references / "coffee.jpg")
    assert error_of(*words).endswith("is a second reference of this name")
    assert not (tmp_path / "out").exists()


def test_an_album_has_consistent_colors(command, error_of, coffee, another_view, tmp_path):
    (tmp_path / "in").mkdir()
    coffee.convert("L").save(tmp_path / "in/a.png")
    Image.open(bundled("photographs") / "cat.jpg").save(tmp_path / "in/b.png")
    another_view.convert("L").save(tmp_path / "in/c.png")
    coffee.save(tmp_path / "as.jpg")
    (tmp_path / "table.csv").write_text("image,reference\nin/a.png,as.jpg\n")
    words = ("colorize", tmp_path / "in")
    common = ("--quiet", "--controls", tmp_path / "table.csv")
    colored = {}
    for out, more in {"apart": (), "album": ("--consistent",)}.items():
        assert command(*words, tmp_path / out, *common, *more) == 0
        colored[out] = [Image.open(tmp_path / f"{out}/{name}.png").convert("RGB") for name in "abc"]
    (_, cat, apart), (_, same_cat, alike) = colored.values()
    assert _error(cat, same_cat) == 0
    assert _error(alike, another_view) < 0.5 * _error(apart, another_view)
    # Results that exist are references, too.
    (tmp_path / "album/c.png").unlink()
    assert command(*words, tmp_path / "album", *common, "--consistent") == 0
    again = Image.open(tmp_path / "album/c.png").convert("RGB")
    assert _error(again, another_view) < 0.5 * _error(apart, another_view)
    error = error_of(*words, tmp_path / "out", "--consistent", "--shard", "1/2")
    assert error.endswith("not by --devices or --shard")
