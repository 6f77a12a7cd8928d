import pytest

from lightning_colorize.data.sources import ImageNetSource
from lightning_colorize.data.splits import random_subset
from tests.data.sources.conftest import names_of, touch

TRAIN = [f"train/n0144{k}/n0144{k}_{i}.JPEG" for k in range(3) for i in range(4)]


@pytest.mark.parametrize("above", ["", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"])
@pytest.mark.parametrize("val", ["val/ILSVRC2012_val_{:08d}.JPEG", "val/n01440/{}.JPEG"])
def test_layouts(tmp_path, above, val):
    val_names = [val.format(i) for i in range(6)]
    touch(tmp_path / above, *TRAIN, *val_names, "test/ILSVRC2012_test_1.JPEG")
    splits = ImageNetSource().splits(tmp_path)
    assert names_of(splits) == {"train": TRAIN, "val": val_names}
    few = names_of(ImageNetSource(max_images=5, max_val=2).splits(tmp_path))
    assert (len(few["train"]), len(few["val"])) == (5, 2)
    assert set(few["train"]) < set(TRAIN)


def test_random_subset_depends_on_names_within_the_split(tmp_path):
    touch(tmp_path, *TRAIN, "val/1.JPEG")
    names = [name.removeprefix("train/") for name in TRAIN]
    chosen = names_of(ImageNetSource(max_images=5).splits(tmp_path))["train"]
    assert chosen == [f"train/{name}" for name in random_subset(names, 5, seed=0)]
