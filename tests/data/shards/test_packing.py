import json
import os
import shutil
from collections import Counter
from io import BytesIO

import pytest
import torch
import webdataset
from filelock import FileLock
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.data.shards import packing
from lightning_colorize.data.sources import FolderSource, WebDatasetSource
from lightning_colorize.data.sources.listing import read_name_list
from tests.conftest import make_image, write_images
from tests.data.shards.conftest import files, flip_byte, pack_folder, train


def by_name(folder, split="train"):
    """The images of a split of a pack."""
    images = WebDatasetSource().splits(folder)[split]
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
    jpeg, decoded = train(packed), train(packed_uint8)
    for index in range(len(jpeg)):
        assert jpeg.name(index) == decoded.name(index)
        difference = (jpeg.read(index).float() - decoded.read(index).float()).abs()
        assert 0 < difference.mean() < 3
    with Image.open(BytesIO(jpeg.encoded(0))) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_small_images_are_not_enlarged_and_long_ones_are_cropped(tmp_path):
    (tmp_path / "photos" / "train").mkdir(parents=True)
    sizes = {(30, 20): (20, 30), (60, 40): (40, 60), (90, 80): (40, 45), (400, 50): (40, 160)}
    for number, size in enumerate(sizes):
        make_image(number, *size).save(tmp_path / "photos" / "train" / f"{number}.png")
    write_images(tmp_path / "photos" / "val", 1)
    pack_folder(tmp_path / "photos", tmp_path / "shards", size=40, encoding="uint8")
    packed = by_name(tmp_path / "shards")
    assert [tuple(packed[name].shape[1:]) for name in sorted(packed)] == [*sizes.values()]


def test_webdataset_reads_the_same(packed, packed_uint8):
    ours = train(packed)
    tars = [str(packed / f"train-{number:06d}.tar") for number in range(4)]
    theirs = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert [sample["json"]["name"] for sample in theirs] == [*ours.names]
    theirs = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["jpg"] for sample in theirs] == [ours.encoded(i) for i in range(12)]
    tars = [str(packed_uint8 / f"train-{number:06d}.tar") for number in range(4)]
    theirs = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    arrays = [train(packed_uint8).read(i).tolist() for i in range(12)]
    assert [sample["npy"].tolist() for sample in theirs] == arrays


def test_a_pack_is_readable_without_its_index(own_pack, photo_folder):
    (own_pack / "pack.json").unlink()
    images = train(own_pack, label="json.name")
    packed = dict(zip(images.notes.labels, map(images.encoded, range(12)), strict=True))
    assert packed.keys() == {*FolderSource().splits(photo_folder)["train"].names}


def test_the_order_mixes_classes_and_depends_on_the_names_alone(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a", "b", "c"):
        write_images(folder / "train" / name, 20)
    pack_folder(folder, tmp_path / "one", each=10)
    names = [*train(tmp_path / "one").names]
    first = Counter(name.split("/")[1] for name in names[:20])
    assert len(first) == 3
    assert max(first.values()) < 16
    shutil.move(folder, tmp_path / "moved")
    pack_folder(tmp_path / "moved", tmp_path / "two", each=10)
    assert [*train(tmp_path / "two").names] == names


def test_the_files_do_not_depend_on_the_number_of_workers(photo_folder, packed, tmp_path):
    pack_folder(photo_folder, tmp_path / "shards", workers=2)
    assert files(tmp_path / "shards") == files(packed)


@pytest.mark.parametrize(("workers", "damaged"), [(0, False), (0, True), (2, False)])
def test_an_interrupted_pack_is_continued(
    photo_folder, packed, tmp_path, monkeypatch, workers, damaged
):
    target, replace = tmp_path / "shards", os.replace

    def full(source, destination):
        if str(destination).endswith("train-000003.tar"):
            raise OSError(28, "No space left on device", str(destination))
        replace(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(WorkError, match=r"000003\.tar: No space left on device; finished"):
            pack_folder(photo_folder, target, workers=workers)
    assert not (target / "pack.json").exists()
    if damaged:
        flip_byte(target / "train-000002.tar")
    (target / f".{16 * 'a'}.part").write_bytes(b"half a tar of a killed process")
    tars, reused = pack_folder(photo_folder, target)
    assert reused == 3 - damaged or (workers and reused > 3)
    assert len(tars) == 7
    assert files(target) == files(packed)


def test_a_finished_pack_is_verified_and_repaired(photo_folder, packed, own_pack):
    assert pack_folder(photo_folder, own_pack)[1] == 7
    flip_byte(own_pack / "train-000002.tar")
    (own_pack / "val-000000.tar").unlink()
    assert pack_folder(photo_folder, own_pack)[1] == 5
    assert files(own_pack) == files(packed)


def test_another_pack_is_not_overwritten(photo_folder, packed, own_pack, tmp_path):
    with pytest.raises(UsageError, match="with other images_per_shard 3, not 4: name another"):
        pack_folder(photo_folder, own_pack, each=4)
    more = shutil.copytree(photo_folder, tmp_path / "more")
    write_images(more / "val", 1, first=90)
    with pytest.raises(UsageError, match="with other images: name another folder, or delete it"):
        pack_folder(more, own_pack)
    (own_pack / "thesis.tex").write_text("x")
    (own_pack / "pack.json").unlink()
    with pytest.raises(UsageError, match="is not empty and not a pack: name a new folder"):
        pack_folder(photo_folder, own_pack)
    kept = {*files(packed), "thesis.tex"} - {"pack.json"}
    assert files(own_pack).keys() - {".packing/lock"} == kept


def test_an_edited_image_is_packed_again(photo_folder, tmp_path):
    folder, target = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "shards"
    pack_folder(folder, target)
    make_image(77, 50, 41).save(folder / "train" / "003.jpg")
    tars, reused = pack_folder(folder, target)
    assert (len(tars), reused) == (7, 6)
    pack_folder(folder, tmp_path / "fresh")
    assert files(target) == files(tmp_path / "fresh")


def test_images_broken_after_packing_leave_no_files(photo_folder, tmp_path):
    folder, target = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "shards"
    tars, _ = pack_folder(folder, target)
    broken = [
        name
        for tar in tars
        if tar.file in ("train-000001.tar", "test-000000.tar")
        for name in tar.images.names
    ]
    for name in broken:
        (folder / name).write_bytes(b"x")
    tars, reused = pack_folder(folder, target)
    assert (sum(len(tar.broken) for tar in tars), reused) == (6, 5)
    pack_folder(folder, tmp_path / "fresh")
    assert files(target) == files(tmp_path / "fresh")
    assert {*WebDatasetSource().splits(target)} == {"train", "val"}


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
    tars, _ = pack_folder(folder, tmp_path / "shards", each=2)
    assert sum(len(tar.broken) for tar in tars) == 3
    assert read_name_list(tmp_path / "shards" / "broken.txt") == set(broken)
    images = by_name(tmp_path / "shards")
    assert len(images) == 11
    assert images.keys().isdisjoint(broken)
    assert odd in images
    for name, rgb in images.items():  # names still match their images
        own = read_image(folder / name, 32).float().mean((1, 2))
        assert (rgb.float().mean((1, 2)) - own).abs().max() < 3


def test_a_repaired_image_is_added_whatever_its_date(photo_folder, tmp_path):
    folder, target = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "shards"
    image, link = folder / "train/003.jpg", folder / "train/link.jpg"
    intact = image.read_bytes()
    image.write_bytes(b"not an image")
    link.symlink_to("nowhere")
    assert sum(len(tar.broken) for tar in pack_folder(folder, target)[0]) == 2
    image.write_bytes(intact)
    os.utime(image, (0, 0))
    (left,) = [name for tar in pack_folder(folder, target)[0] for name, _ in tar.broken]
    assert left == "train/link.jpg"
    assert "train/003.jpg" in by_name(target)


def test_no_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(WorkError, match=r"none of 1 images can be read \(first: a.jpg: not a"):
        pack_folder(tmp_path, tmp_path / "shards")


@pytest.mark.parametrize(
    "content",
    [b'{"version": 1, "splits": {}}', b'{"version": 2}', b"[]", b"{", b"\x80", b"[" * 10**6, None],
)
def test_another_index_is_one_line(own_pack, photo_folder, content):
    message = r"^\S+pack.json is not an index [^\n]*: pack the images again into a new folder$"
    if content is None:
        pack = json.loads((own_pack / "pack.json").read_text())
        pack["tars"][0]["images"]["offsets"].pop()
        content = json.dumps(pack).encode()
    (own_pack / "pack.json").write_bytes(content)
    for use in (train, lambda folder: pack_folder(photo_folder, folder)):
        with pytest.raises(UsageError, match=message):
            use(own_pack)
