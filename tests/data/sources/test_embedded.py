import numpy as np
import pytest
from skimage import data as bundled
from skimage.morphology import dilation

from lightning_colorize.data.sources import EmbeddedSource, SourceError
from lightning_colorize.data.sources.embedded import PHOTOGRAPHS


def region(name):
    """Photograph, rows and columns from an image's name."""
    photograph, box = name.split("/")
    size, left, top = box.split("+")
    width, height = map(int, size.split("x"))
    rows, columns = slice(int(top), int(top) + height), slice(int(left), int(left) + width)
    return photograph, rows, columns


def masks(images):
    """Which pixels of each photograph the images hold, from their names alone."""
    held = {name: np.zeros(load().shape[:2], dtype=bool) for name, load in PHOTOGRAPHS.items()}
    for i in range(len(images)):
        photograph, rows, columns = region(images.name(i))
        held[photograph][rows, columns] = True
    return held


@pytest.fixture(scope="module")
def splits():
    return EmbeddedSource().splits(None)


@pytest.mark.parametrize("held_out", PHOTOGRAPHS)
def test_no_validation_pixel_is_in_any_training_window(held_out):
    splits = EmbeddedSource(held_out, windows=200).splits(None)
    train, val = masks(splits["train"]), masks(splits["val"])
    for name in PHOTOGRAPHS:
        assert not (train[name] & val[name]).any()
        assert train[name].any() == val[name].any() == (name != held_out)


def test_images_are_copies_of_the_regions_in_their_names(splits):
    for split in ("train", "val"):
        for i in (0, len(splits[split]) - 1):
            photograph, rows, columns = region(splits[split].name(i))
            expected = PHOTOGRAPHS[photograph]()[rows, columns].transpose(2, 0, 1)
            for _ in range(2):
                image = splits[split].read(i, min_side=32)
                assert image.is_contiguous()
                assert np.array_equal(image.numpy(), expected)
                image.zero_()


def test_counts_and_sizes(splits):
    assert {split: len(p) for split, p in splits.items()} == {"train": 512, "val": 8, "test": 1}
    assert {tuple(splits["train"].read(i).shape) for i in range(512)} == {(3, 112, 112)}
    assert {tuple(splits["val"].read(i).shape) for i in range(8)} == {(3, 96, 96)}
    names = [splits["train"].name(i) for i in range(512)]
    assert len(set(names)) == 512
    again = EmbeddedSource().splits(None)["train"]
    assert [again.name(i) for i in range(512)] == names
    assert len(EmbeddedSource(windows=7).splits(None)["train"]) == 7


def test_held_out_photograph_is_whole(splits):
    assert np.array_equal(splits["test"].read(0).numpy(), bundled.chelsea().transpose(2, 0, 1))
    rocket = EmbeddedSource(held_out="rocket").splits(None)["test"]
    assert np.array_equal(rocket.read(0).numpy(), bundled.rocket().transpose(2, 0, 1))


def test_training_surrounds_the_validation_squares(splits):
    """Most pixels within 48 of a square, and most of a photograph's, are trained on."""
    train, val = masks(splits["train"]), masks(splits["val"])
    for name in set(PHOTOGRAPHS) - {"chelsea"}:
        near = dilation(val[name], np.ones((97, 97), dtype=bool)) & ~val[name]
        assert train[name][near].mean() > 0.7
        assert train[name][~val[name]].mean() > 0.8


def test_wrong_settings_are_one_line(tmp_path):
    with pytest.raises(SourceError, match="'cat': it must be one of astronaut, chelsea, coffee"):
        EmbeddedSource(held_out="cat")
    with pytest.raises(SourceError, match=r"leave out --data\.root, or choose FolderSource"):
        EmbeddedSource().splits(tmp_path)
    with pytest.raises(SourceError, match=r"has room for .* windows, 250,000 are needed"):
        EmbeddedSource(windows=1_000_000).splits(None)
    with pytest.raises(SourceError, match="windows is 3: it must be at least 4"):
        EmbeddedSource(windows=3)
