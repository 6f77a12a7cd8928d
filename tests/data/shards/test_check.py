"""Verification of shards and manifests, and runs over damaged ones."""

import json
import multiprocessing
from functools import partial, reduce
from operator import getitem
from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.corrupt import TooManyCorrupt
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import check
from lightning_colorize.data.shards.check import ShardError
from lightning_colorize.data.sources import ShardSource
from lightning_colorize.data.sources.listing import read_name_list
from tests.data.conftest import names_in
from tests.data.shards.conftest import flip_byte, pack_folder

DAMAGED = "train/chunk-0-1.bin"
SHA256 = "its SHA-256 is not the one in pack.json"


def data_module(root, on_corrupt="stop", **options):
    settings = {"size": 32, "batch_size": 4, "cache": "never", "num_workers": 0, "seed": 0}
    source = ShardSource(on_corrupt=on_corrupt)
    data = ColorizationDataModule(root=str(root), source=source, **settings | options)
    data.setup()
    return data


@pytest.mark.parametrize(
    ("change", "reason"), [(flip_byte, SHA256), (Path.unlink, "there is no such file")]
)
def test_a_damaged_or_missing_shard_is_named_in_every_run(own_pack, change, reason):
    assert ShardSource().splits(own_pack)["train"].read(3).shape[0] == 3
    change(own_pack / DAMAGED)
    images = ShardSource().splits(own_pack)["train"]
    for index in (3, 4, 5):
        with pytest.raises(ShardError) as caught:
            images.read(index)
        assert caught.value.location == str(own_pack / DAMAGED)
        assert caught.value.reason.startswith(reason)
    assert [images.read(index).shape[0] for index in (2, 6)] == [3, 3]


def _read_all(images, counts):
    sha256_of = check.sha256_of

    def counted(file):
        with counts.get_lock():
            counts.value += 1
        return sha256_of(file)

    check.sha256_of = counted
    for index in range(len(images)):
        images.read(index)


def test_forked_processes_verify_each_shard_once(packed):
    images = ShardSource().splits(packed)["train"]
    fork = multiprocessing.get_context("fork")
    counts = fork.Value("i", 0)
    for _ in range(2):
        processes = [fork.Process(target=_read_all, args=(images, counts)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
    assert counts.value == 4


@pytest.mark.parametrize("kind", ["names", "labels"])
def test_damaged_names_are_named(own_pack, kind):
    pack = json.loads((own_pack / "pack.json").read_text())
    train = pack["splits"]["train"]
    train["labels"] = {**train["names"], "file": "train/labels"}
    (own_pack / "pack.json").write_text(json.dumps(pack))
    (own_pack / "train/labels").write_bytes((own_pack / "train/names").read_bytes())
    assert ShardSource().splits(own_pack)["train"].notes.labels[0].startswith("train/")
    flip_byte(own_pack / "train" / kind)
    with pytest.raises(UsageError, match=f"train/{kind} is damaged .*: run pack again"):
        ShardSource().splits(own_pack)


FIRST = ("splits", "train", "shards", 0)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["version"], 2),
        (["splits"], {}),
        (["settings", "encoding"], "png"),
        ([*FIRST, "images"], -3),
        ([*FIRST, "bytes"], "9"),
        # Paths are made of names and digests, and the manifest may come from anywhere.
        (["splits", "train", "names", "file"], "../../photos/001.jpg"),
        ([*FIRST, "file"], "/etc/hostname"),
        ([*FIRST, "file"], ""),
        ([*FIRST, "sha256"], "../../../thesis"),
        ([*FIRST, "sha256"], "a" * 64 + "\n"),
        *(([], content) for content in (b"\x80\xff", b"{", b"[" * 10**6, b"[]")),
    ],
)
def test_an_invalid_manifest_is_one_line(own_pack, photo_folder, keys, value):
    file, found = own_pack / "pack.json", ""
    if keys:
        *parents, key = keys
        manifest = json.loads(file.read_text())
        reduce(getitem, parents, manifest)[key] = value
        value = json.dumps(manifest).encode()
        found = f"{'.'.join(map(str, keys))} is "
    file.write_bytes(value)
    message = f"^{file} is not a manifest [^\n]*{found}[^\n]*: run pack again, or install[^\n]*$"
    for use in (ShardSource().splits, partial(pack_folder, photo_folder)):
        with pytest.raises(UsageError, match=message):
            use(own_pack)


@pytest.mark.parametrize(
    ("split", "options"),
    [
        ("train", {"num_workers": 0}),
        ("train", {"num_workers": 2}),
        ("test", {"num_workers": 2}),
        ("train", {"cache": "always"}),
        ("test", {"cache": "always"}),  # its only shard
    ],
)
def test_a_damaged_shard_stops_the_run(own_pack, split, options):
    damaged = own_pack / split / "chunk-0-0.bin"
    flip_byte(damaged)
    module = data_module(own_pack, **options)
    # The error is not stored: its frames would keep torch's workers alive.
    with pytest.raises(WorkError, match=f"^{damaged}: {SHA256}: run pack again[^\n]*skip$"):
        list(module.loader(split))


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_skips_a_damaged_shard(own_pack, capsys, workers):
    flip_byte(own_pack / DAMAGED)
    module = data_module(own_pack, "skip", max_broken_share=0.5, num_workers=workers)
    images, loader = module.images("train"), module.loader("train")
    for _ in range(2):
        # Each image of the next shard replaces one of them, instead of one image all three.
        read = (0, 1, 2, *[6, 7, 8] * 2, 9, 10, 11)
        assert sorted(names_in(loader)) == sorted(images.name(i) for i in read)
    assert set(loader.corrupt._found) == {images.name(i) for i in (3, 4, 5)}
    err = capsys.readouterr().err
    assert err.count("Skipping the 3 images of") == 1
    assert f"{DAMAGED}: {SHA256}" in err


def test_images_of_a_skipped_shard_count_as_broken(own_pack, tmp_path):
    flip_byte(own_pack / DAMAGED)
    module = data_module(own_pack, "skip", max_broken_share=0.1)
    images, loader = module.images("train"), module.loader("train")
    loader.corrupt.report = tmp_path / "broken.txt"
    with pytest.raises(TooManyCorrupt, match=r"^3 or more of 20 images cannot be read"):
        list(loader)
    assert read_name_list(tmp_path / "broken.txt") <= {images.name(i) for i in (3, 4, 5)}
    # Excluded images of a skipped shard do not count.
    (tmp_path / "excluded.txt").write_text(f"{images.name(3)}\n")
    fewer = ShardSource("skip", exclude_list=tmp_path / "excluded.txt").splits(own_pack)["train"]
    assert fewer.name(3) == images.name(4)
    with pytest.raises(ShardError) as caught:
        fewer.read(3)
    assert caught.value.leap == 2
