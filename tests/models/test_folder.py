import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.evaluation.systems import System, readable, split_word, square_view
from lightning_colorize.models.folder import FolderModel


def _image(width, height):
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x * y)], axis=-1)
    return Image.fromarray((255 * pixels).astype(np.uint8))


@pytest.fixture
def folders(tmp_path):
    truth, given = tmp_path / "truth", tmp_path / "given"
    for folder in (truth, given):
        (folder / "cats").mkdir(parents=True)
    return truth, given


def _given(folder, truth, *files):
    return FolderModel(folder, files, truth)


def _square(model):
    return model.predict_rgb("a.png", torch.zeros(3, 40, 40, dtype=torch.uint8), square_view(40))


@pytest.mark.parametrize(
    ("files", "name", "expected"),
    [
        (["cats/a.png"], "cats/a.jpg", "cats/a.png"),
        (["cats/a.jpg"], "cats/a.jpg", "cats/a.jpg"),
        (["cats/a.png", "cats/a.jpg"], "cats/a.jpg", "cats/a.jpg"),
        (["cats/a.jpg.png", "cats/a.tif.png"], "cats/a.tif", "cats/a.tif.png"),
        (["a.png"], "cats/a.jpg", None),
        (["cats/b.png"], "cats/a.jpg", None),
        (["cats/a.png"], "test/cats/a.jpg", "cats/a.png"),
        (["test/cats/a.png", "cats/a.png"], "test/cats/a.jpg", "test/cats/a.png"),
        (["a.v1.png"], "a.v1.jpg", "a.v1.png"),
        (["a.jpg.png", "a.jpg"], "a.jpg", "a.jpg"),
        (["a.png", "a.jpg.png"], "a.jpg", "a.jpg.png"),
        (["caf\u00e9.png"], "cafe\u0301.jpg", "caf\u00e9.png"),
        (["cafe\u0301.png"], "caf\u00e9.jpg", "cafe\u0301.png"),
    ],
)
def test_images_are_found_by_relative_name(tmp_path, files, name, expected):
    assert _given(tmp_path, tmp_path, *files).find(name) == expected


def test_ambiguous_names_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"has a.bmp and a.png for a.jpg; remove one"):
        _given(tmp_path, tmp_path, "a.bmp", "a.png").find("a.jpg")


def test_the_truth_is_unchanged(folders):
    truth, given = folders
    _image(61, 40).save(truth / "a.png")
    _image(61, 40).save(given / "a.png")
    square = _square(_given(given, truth, "a.png"))
    assert torch.equal(square, read_image(truth / "a.png")[:, :, 10:50])


@pytest.mark.parametrize("size", [(122, 80), (48, 48), (30, 20)])
def test_other_sizes_are_resized_to_the_truth(folders, size):
    # A network that stretches its input to a square returns the same scene.
    truth, given = folders
    _image(120, 80).save(truth / "a.png")
    _image(*size).save(given / "a.png")
    square = _square(_given(given, truth, "a.png"))
    expected = _square(_given(truth, truth, "a.png"))
    assert square.shape == (3, 40, 40)
    assert (square.float() - expected.float()).abs().mean() < 6
    system = System("theirs", given, _given(given, truth, "a.png"))
    whole = system.color_whole("a.png", torch.zeros(3, 40, 60, dtype=torch.uint8), 40)
    assert torch.equal(whole, resize(read_image(given / "a.png"), [40, 60]))  # once


def test_unreadable_images_are_reported_and_left_out(folders, monkeypatch):
    read = []

    monkeypatch.setattr(
        "lightning_colorize.models.folder.read_image",
        lambda *args: read.append(weakref.ref(rgb := read_image(*args))) or rgb,
    )
    truth, given = folders
    for name in ("a.png", "b.png"):
        _image(40, 40).save(truth / name)
    _image(40, 40).save(given / "a.png")
    (given / "b.png").write_bytes(b"no image")
    system = System("theirs", given, _given(given, truth, "a.png", "b.png"))
    whole = ColorBatch(torch.zeros(2, 1, 32, 32), torch.zeros(2, 2, 32, 32), ["a.png", "b.png"])
    broken, view = [], square_view(32)
    (batch,) = readable([system], iter([whole]), view, broken)
    assert [str(error) for error in broken] == ["b.png: theirs: not an image"]
    assert batch.names == ["a.png"]
    assert [each() for each in read] == [None]  # whole files do not stay in memory
    colored = system.predict(batch)
    assert (colored.L.shape, colored.ab.shape) == ((1, 1, 32, 32), (1, 1, 2, 32, 32))


@pytest.mark.parametrize(
    ("word", "name", "path"),
    [
        ("cgan=x", "cgan", "x"),
        ("best.pth", "best", "best.pth"),
        ("given", "given", "given"),
        ("lr=3", "lr=3", "lr=3"),  # it exists
        ("unet/checkpoints/best.ckpt", "unet", "unet/checkpoints/best.ckpt"),
    ],
)
def test_names_and_paths(tmp_path, monkeypatch, word, name, path):
    monkeypatch.chdir(tmp_path)
    for folder in ("given", "lr=3", "unet/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "unet/checkpoints/best.ckpt").touch()
    assert split_word(word) == (name, Path(path))
