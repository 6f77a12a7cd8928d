import os
import shutil
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.data.shards import packing
from lightning_colorize.data.shards.plan import pack_settings
from lightning_colorize.data.sources import FolderSource, ShardSource
from lightning_colorize.data.sources.listing import read_name_list
from tests.conftest import make_image, write_images
from tests.data.shards.conftest import files, flip_byte, pack_folder, plan_of


def by_name(folder, split="train"):
    """The images of a split of a pack."""
    images = ShardSource().splits(folder)[split]
    return {images.name(i): images.read(i) for i in range(len(images))}


def test_uint8_shards_hold_the_resized_images(photo_folder, packed_uint8):
    for split, images in FolderSource().splits(photo_folder).items():
        packed = by_name(packed_uint8, split)
        assert sorted(packed) == sorted(images.names)
        for name, resized in packed.items():
            rgb = read_image(photo_folder / name)
            scale = 32 / min(rgb.shape[1:])
            shape = [max(32, round(side * scale)) for side in rgb.shape[1:]]
            expected = TF.resize(rgb, shape, antialias=True)
            assert resized.dtype == torch.uint8
            assert (resized.float() - expected.float()).abs().max() <= 1


def test_jpegs_are_near_the_original_without_chroma_subsampling(packed, packed_uint8):
    jpeg, decoded = (ShardSource().splits(p)["train"] for p in (packed, packed_uint8))
    for index in range(len(jpeg)):
        assert jpeg.name(index) == decoded.name(index)
        difference = (jpeg.read(index).float() - decoded.read(index).float()).abs()
        assert 0 < difference.mean() < 3
    with Image.open(BytesIO(jpeg.encoded(0))) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    assert decoded.encoded(0) is None


def test_small_images_are_not_enlarged_and_long_ones_are_cropped(tmp_path):
    (tmp_path / "photos" / "train").mkdir(parents=True)
    sizes = {(30, 20): (20, 30), (60, 40): (40, 60), (90, 80): (40, 45), (400, 50): (40, 160)}
    for number, size in enumerate(sizes):
        make_image(number, *size).save(tmp_path / "photos" / "train" / f"{number}.png")
    write_images(tmp_path / "photos" / "val", 1)
    pack_folder(tmp_path / "photos", tmp_path / "shards", size=40, encoding="uint8")
    packed = by_name(tmp_path / "shards")
    assert [tuple(packed[name].shape[1:]) for name in sorted(packed)] == [*sizes.values()]


def test_litdata_reads_the_same(own_pack, tmp_path, monkeypatch):
    from litdata import StreamingDataset

    monkeypatch.setenv("HOME", str(tmp_path))
    ours = ShardSource().splits(own_pack)["train"]
    theirs = StreamingDataset(str(own_pack / "train"))
    assert len(theirs) == len(ours) == 12
    for index in range(12):
        assert theirs[index]["name"] == ours.name(index)
        assert torch.equal(theirs[index]["image"], ours.read(index))


def test_the_order_mixes_classes_and_depends_on_the_names_alone(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a", "b", "c"):
        write_images(folder / "train" / name, 20)
    pack_folder(folder, tmp_path / "one", each=10)
    names = list(ShardSource().splits(tmp_path / "one")["train"].names)
    first = Counter(name.split("/")[1] for name in names[:20])
    assert len(first) == 3
    assert max(first.values()) < 16
    shutil.move(folder, tmp_path / "moved")
    pack_folder(tmp_path / "moved", tmp_path / "two", each=10)
    assert list(ShardSource().splits(tmp_path / "two")["train"].names) == names


def test_the_files_do_not_depend_on_the_number_of_workers(photo_folder, packed, tmp_path):
    pack_folder(photo_folder, tmp_path / "shards", workers=2)
    assert files(tmp_path / "shards") == files(packed)


@pytest.fixture
def pack_until(monkeypatch):
    """Return a function that packs until a shard is written but not yet renamed."""

    def call(file, folder, target, workers=0):
        replace = os.replace

        def full(source, destination):
            if str(destination).endswith(file):
                raise OSError(28, "No space left on device", destination)
            replace(source, destination)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.raises(WorkError, match=f"{file}: No space left on device; finished"):
                pack_folder(folder, target, workers=workers)

    return call


@pytest.mark.parametrize(("workers", "damaged"), [(0, False), (0, True), (2, False)])
def test_an_interrupted_pack_is_continued(
    photo_folder, packed, tmp_path, pack_until, workers, damaged
):
    target = tmp_path / "shards"
    pack_until("train/chunk-0-3.bin", photo_folder, target, workers)
    assert not (target / "pack.json").exists()
    with pytest.raises(UsageError, match="needs a finished pack"):
        ShardSource().splits(target)
    if damaged:
        flip_byte(target / "train" / "chunk-0-2.bin")
    outcome = pack_folder(photo_folder, target)
    assert outcome.reused == 3 - damaged or (workers and outcome.reused > 3)
    assert outcome.shards == 7
    assert files(target) == files(packed)


def test_a_finished_pack_is_verified_and_repaired(photo_folder, packed, own_pack):
    assert pack_folder(photo_folder, own_pack).reused == 7
    flip_byte(own_pack / "train" / "chunk-0-2.bin")
    (own_pack / "val" / "chunk-0-0.bin").unlink()
    (own_pack / "train" / "names").write_bytes(b"")
    assert pack_folder(photo_folder, own_pack).reused == 5
    assert files(own_pack) == files(packed)


def test_another_pack_is_not_overwritten(photo_folder, packed, own_pack, tmp_path):
    with pytest.raises(UsageError, match="packed with images_per_shard 3, not 4"):
        pack_folder(photo_folder, own_pack, each=4)
    more = shutil.copytree(photo_folder, tmp_path / "more" / photo_folder.name)
    write_images(more / "val", 1, first=90)
    for folder in (more, shutil.copytree(photo_folder, tmp_path / "another")):
        with pytest.raises(UsageError, match="packed from other images"):
            pack_folder(folder, own_pack)
    assert files(own_pack) == files(packed)


@pytest.mark.parametrize("finished", [True, False])
def test_an_edited_image_is_packed_again(photo_folder, tmp_path, pack_until, finished):
    folder, target = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "shards"
    if finished:
        pack_folder(folder, target)
    else:
        pack_until("val/chunk-0-1.bin", folder, target)
    name = plan_of(folder).names_of("train", 2)[1]
    make_image(77, 50, 41).save(folder / name)
    outcome = pack_folder(folder, target)
    assert (outcome.shards, outcome.reused) == (7, 6 if finished else 4)
    pack_folder(folder, tmp_path / "fresh")
    assert files(target) == files(tmp_path / "fresh")
    assert pack_folder(folder, target).reused == 7
    os.utime(folder / name, ns=(0, (folder / name).stat().st_mtime_ns + 1))
    assert pack_folder(folder, target).reused == 6


def test_images_broken_after_packing_leave_no_files(photo_folder, tmp_path):
    folder, target = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "shards"
    pack_folder(folder, target)
    broken = [*plan_of(folder).names_of("train", 1), *plan_of(folder).names_of("test", 0)]
    for name in broken:
        (folder / name).write_bytes(b"x")
    outcome = pack_folder(folder, target)
    assert (outcome.broken, outcome.reused) == (6, 5)
    pack_folder(folder, tmp_path / "fresh")
    assert files(target) == files(tmp_path / "fresh")
    assert set(ShardSource().splits(target)) == {"train", "val"}


def test_shards_are_reused_while_the_images_are_not_accessible(
    photo_folder, packed, own_pack, tmp_path
):
    folder = shutil.copytree(photo_folder, tmp_path / photo_folder.name)
    plan = plan_of(folder)
    shutil.rmtree(folder)  # such as a network share that fails after it was listed
    assert packing.pack(plan, own_pack, 0).reused == 7
    assert files(own_pack) == files(packed)


def test_a_folder_with_other_files_is_refused(photo_folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="is not empty and not a pack: name a new folder"):
        pack_folder(photo_folder, tmp_path)
    assert files(tmp_path) == {"thesis.tex": b"x"}


def test_concurrent_packs_into_one_folder_are_refused(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_LOCK_TIMEOUT", 0.1)
    (tmp_path / ".packing").mkdir()
    with (
        FileLock(tmp_path / ".packing" / "lock"),
        pytest.raises(UsageError, match="another process packs into"),
    ):
        pack_folder(photo_folder, tmp_path)


def test_broken_images_are_left_out_and_listed(photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    odd = os.fsdecode(b"train/caf\xc9.jpg")  # not UTF-8
    (folder / "train/001.jpg").rename(folder / odd)
    broken = ["train/003.jpg", "train/#7\n.jpg", os.fsdecode(b"train/caf\xe9.jpg")]
    for name in broken:
        (folder / name).write_bytes(b"not an image")
    outcome = pack_folder(folder, tmp_path / "shards", each=2)
    assert (outcome.broken, outcome.images["train"]) == (3, 11)
    assert read_name_list(tmp_path / "shards" / "broken.txt") == set(broken)
    images = by_name(tmp_path / "shards")
    assert images.keys().isdisjoint(broken)
    assert odd in images
    for name, rgb in images.items():  # names still match their images
        own = read_image(folder / name, 32).float().mean((1, 2))
        assert (rgb.float().mean((1, 2)) - own).abs().max() < 3


def test_no_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(WorkError, match=r"none of 1 images can be read \(first: a.jpg: not a"):
        pack_folder(tmp_path, tmp_path / "shards")


def test_shards_beyond_four_gigabytes_are_refused():
    with pytest.raises(UsageError, match="must be below 4 GiB, at this size and encoding at"):
        pack_settings(1024, "uint8", 95, 10_000)
    default = pack_settings(256, "jpeg", 95, None).images_per_shard
    assert 300 < default < 1000
    assert np.isclose(pack_settings(256, "uint8", 95, None).images_per_shard, default / 5, 0.05)
