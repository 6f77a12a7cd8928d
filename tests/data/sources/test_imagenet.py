import pytest

from lightning_colorize.data.sources import ImageNetSource, SourceError
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


def test_exclude_list(tmp_path):
    val = [f"val/ILSVRC2012_val_{i:08d}.JPEG" for i in range(3)]
    touch(tmp_path / "Data" / "CLS-LOC", *TRAIN, *val)
    listed = tmp_path / "out.txt"
    listed.write_text(f"# truncated\n{TRAIN[0]}\n# tiny\n{val[2]}\n")
    splits = ImageNetSource(exclude_list=listed).splits(tmp_path)
    assert names_of(splits) == {"train": TRAIN[1:], "val": val[:2]}
    # Excluded images do not count against the limits.
    few = names_of(ImageNetSource(max_images=11, max_val=2, exclude_list=listed).splits(tmp_path))
    assert few == {"train": TRAIN[1:], "val": val[:2]}
    listed.write_text("\n".join(val))
    assert names_of(ImageNetSource(exclude_list=listed).splits(tmp_path)) == {"train": TRAIN}


def test_random_subset_depends_on_names_within_the_split(tmp_path):
    touch(tmp_path, *TRAIN, "val/1.JPEG")
    names = [name.removeprefix("train/") for name in TRAIN]
    chosen = names_of(ImageNetSource(max_images=5).splits(tmp_path))["train"]
    assert chosen == [f"train/{name}" for name in random_subset(names, 5, seed=0)]


def test_missing_parts_are_named(tmp_path):
    touch(tmp_path, "flat/train/1.JPEG", "alone/train/n1/1.JPEG")
    for root, message in (
        (tmp_path / "flat", "no class folders"),
        (tmp_path / "alone", "no folder val/: ImageNetSource needs ROOT/train"),
        (tmp_path, "no folder train/"),
        (None, "pass --data.root"),
    ):
        with pytest.raises(SourceError, match=message):
            ImageNetSource().splits(root)
    with pytest.raises(SourceError, match="max_val is 0"):
        ImageNetSource(max_val=0)
