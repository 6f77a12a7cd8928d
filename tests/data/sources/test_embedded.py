import re

import numpy as np
import pytest
from skimage import data as bundled

from lightning_colorize.data.sources import EmbeddedSource
from lightning_colorize.data.sources.embedded import PHOTOGRAPHS
from tests.data.sources.conftest import names_of


def region(name):
    """Photograph, rows and columns from an image's name."""
    photograph, *box = re.split(r"[/x+]", name)
    width, height, left, top = map(int, box)
    return photograph, slice(top, top + height), slice(left, left + width)


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
    names = names_of(splits)
    assert names_of(EmbeddedSource().splits(None)) == names
    for split, count, side in (("train", 512, 112), ("val", 8, 96)):
        images = splits[split]
        assert {tuple(images.read(i).shape) for i in range(len(images))} == {(3, side, side)}
        assert len(set(names[split])) == len(images) == count
    assert len(EmbeddedSource(windows=7).splits(None)["train"]) == 7
    rocket = EmbeddedSource(held_out="rocket").splits(None)["test"]
    for test, whole in ((splits["test"], bundled.chelsea()), (rocket, bundled.rocket())):
        assert len(test) == 1
        assert np.array_equal(test.read(0).numpy(), whole.transpose(2, 0, 1))
