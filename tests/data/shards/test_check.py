"""Verification of shards and manifests, and runs over damaged ones."""

import json
import multiprocessing
from functools import partial
from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.corrupt import TooManyCorrupt
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import check
from lightning_colorize.data.shards.check import ShardError
from lightning_colorize.data.sources import ShardSource
from lightning_colorize.data.sources.listing import read_name_list
from tests.data.shards.conftest import flip_byte, pack_folder

DAMAGED = "train/chunk-0-1.bin"


def data_module(root, on_corrupt="stop", **options):
    settings = {"size": 32, "batch_size": 4, "cache": "never", "num_workers": 0, "seed": 0}
    source = ShardSource(on_corrupt=on_corrupt)
    return ColorizationDataModule(root=str(root), source=source, **settings | options)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip_byte, "its SHA-256 is not the one in pack.json"),
        (Path.unlink, "there is no such file"),
    ],
)
def test_a_damaged_or_missing_shard_is_named(own_pack, change, reason):
    change(own_pack / DAMAGED)
    images = ShardSource().splits(own_pack)["train"]
    assert images.read(2).shape[0] == 3
    for index in (3, 4, 5):
        with pytest.raises(ShardError) as caught:
            images.read(index)
        assert caught.value.location == str(own_pack / DAMAGED)
        assert caught.value.reason.startswith(reason)
    assert images.read(6).shape[0] == 3


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


def test_the_next_run_verifies_again(own_pack):
    ShardSource().splits(own_pack)["train"].read(3)
    flip_byte(own_pack / DAMAGED)
    with pytest.raises(ShardError):
        ShardSource().splits(own_pack)["train"].read(3)


def test_damaged_names_are_named(own_pack):
    flip_byte(own_pack / "train" / "names")
    with pytest.raises(UsageError, match=r"train/names is damaged .*: run pack again"):
        ShardSource().splits(own_pack)


def names_file(**change):
    return lambda manifest: manifest["splits"]["train"]["names"].update(change)


def first_shard(**change):
    return lambda manifest: manifest["splits"]["train"]["shards"][0].update(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), r"is not a manifest .*version is 2"),
        (lambda m: m.update(splits={}), "is not a manifest"),
        (lambda m: m["settings"].update(encoding="png"), "is not a manifest .*'png'"),
        (first_shard(images=-3), "is not a manifest .*-3"),
        (first_shard(bytes="9"), "is not a manifest .*'9'"),
        # Paths are made of names and digests, and the manifest may come from anywhere.
        (names_file(file="../../photos/001.jpg"), "is not a manifest .*photos"),
        (first_shard(file="/etc/hostname"), "is not a manifest .*hostname"),
        (first_shard(file=""), "is not a manifest"),
        (first_shard(sha256="../../../thesis"), "is not a manifest .*thesis"),
        (first_shard(sha256="a" * 64 + "\n"), "is not a manifest .*aaa"),
    ],
)
def test_an_invalid_manifest_is_one_line(own_pack, change, message):
    manifest = json.loads((own_pack / "pack.json").read_text())
    change(manifest)
    (own_pack / "pack.json").write_text(json.dumps(manifest))
    with pytest.raises(
        UsageError, match=f"^{own_pack}/pack.json {message}.*: run pack again, or install"
    ):
        ShardSource().splits(own_pack)


@pytest.mark.parametrize("content", [b"\x80\xff", b"{", b"[" * 10**6, b"[]"])
def test_a_manifest_that_is_not_json_is_named(own_pack, photo_folder, content):
    (own_pack / "pack.json").write_bytes(content)
    for use in (ShardSource().splits, partial(pack_folder, photo_folder)):
        with pytest.raises(UsageError, match=r"own/pack.json is not a manifest .*: run pack again"):
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
    module.setup()
    message = f"^{damaged}: its SHA-256 is not the one in pack.json: run pack again[^\n]*skip$"
    # The error is not stored: its frames would keep torch's workers alive.
    with pytest.raises(WorkError, match=message):
        list(module.loader(split))


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_skips_a_damaged_shard(own_pack, capsys, workers):
    flip_byte(own_pack / DAMAGED)
    module = data_module(own_pack, "skip", max_broken_share=0.5, num_workers=workers)
    module.setup()
    images = module.images("train")
    lost = {images.name(i) for i in (3, 4, 5)}
    loader = module.loader("train")
    for _ in range(2):
        names = [name for batch in loader for name in batch.names]
        assert len(names) == 12
        assert lost.isdisjoint(names)
        # Each image of the next shard replaces one of them, instead of one image all three.
        read = (0, 1, 2, *[6, 7, 8] * 2, 9, 10, 11)
        assert sorted(names) == sorted(images.name(i) for i in read)
    assert set(loader.corrupt._found) == lost
    err = capsys.readouterr().err
    assert err.count("Skipping the 3 images of") == 1
    assert f"{DAMAGED}: its SHA-256 is not the one in pack.json" in err


def test_images_of_a_skipped_shard_count_as_broken(own_pack, tmp_path):
    flip_byte(own_pack / DAMAGED)
    module = data_module(own_pack, "skip", max_broken_share=0.1)
    module.setup()
    loader = module.loader("train")
    loader.corrupt.report = tmp_path / "broken.txt"
    with pytest.raises(TooManyCorrupt, match=r"^3 or more of 20 images cannot be read"):
        list(loader)
    images = module.images("train")
    assert read_name_list(tmp_path / "broken.txt") <= {images.name(i) for i in (3, 4, 5)}


def test_excluded_images_of_a_skipped_shard_do_not_count(own_pack, tmp_path):
    flip_byte(own_pack / DAMAGED)
    whole = ShardSource().splits(own_pack)["train"]
    listed = tmp_path / "excluded.txt"
    listed.write_text(f"{whole.name(3)}\n")
    images = ShardSource("skip", exclude_list=listed).splits(own_pack)["train"]
    assert images.name(3) == whole.name(4)
    with pytest.raises(ShardError) as caught:
        images.read(3)
    assert caught.value.leap == 2
