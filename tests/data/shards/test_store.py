"""Fetching from an address: retried, whole, once for all processes, and within its room."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import check
from lightning_colorize.data.shards import digest as digest_module
from lightning_colorize.data.shards import store as module
from lightning_colorize.data.shards.errors import ShardError
from lightning_colorize.data.shards.manifest import PackedFile
from lightning_colorize.data.shards.store import AddressStore
from lightning_colorize.data.sources import (
    EmbeddedSource,
    FolderSource,
    ImageNetSource,
    ManifestSource,
    MixtureSource,
    OxfordPetSource,
    ShardSource,
    default_source,
    parse_root,
)
from tests.data.shards.conftest import flip_byte


class Flaky(LocalFileSystem):
    """Local files at `flaky://`, which fail as often as they are told."""

    protocol = "flaky"
    cachable = False
    failures: tuple[Exception, ...] = ()
    fetched: tuple[str, ...] = ()
    lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(str(path).removeprefix("flaky://"))

    def _asked(self, path):
        with self.lock:
            Flaky.fetched += (os.path.basename(path),)
            if Flaky.failures:
                first, *rest = Flaky.failures
                Flaky.failures = tuple(rest)
                raise first

    def cat_file(self, path, **options):
        self._asked(path)
        return super().cat_file(path, **options)

    def get_file(self, path, target, **options):
        self._asked(path)
        return super().get_file(path, target, **options)


class Throttled(Exception):
    """What a file system raises that has classes of its own."""


@pytest.fixture(autouse=True)
def flaky(monkeypatch):
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(module, "DELAYS", (0.0, 0.0, 0.0))
    Flaky.failures = Flaky.fetched = ()
    yield Flaky
    Flaky.failures = Flaky.fetched = ()


@pytest.fixture
def address(own_pack):
    return f"flaky://{own_pack}"


def source(tmp_path, **options):
    return ShardSource(cache_dir=tmp_path / "cache", **options)


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*.shard"))


def test_an_address_gives_what_the_folder_gives(address, packed, tmp_path):
    there, here = source(tmp_path).splits(address), ShardSource().splits(packed)
    assert {s: len(p) for s, p in there.items()} == {s: len(p) for s, p in here.items()}
    for split, images in here.items():
        for index in range(len(images)):
            assert there[split].name(index) == images.name(index)
            assert torch.equal(there[split].read(index), images.read(index))
    assert len(kept(tmp_path)) == 7
    assert not list((tmp_path / "cache").glob("*.part"))


def test_what_fails_for_a_while_is_tried_again(address, tmp_path, flaky):
    flaky.failures = (Throttled("503 Slow Down"), TimeoutError())
    images = source(tmp_path).splits(address)["train"]
    flaky.failures = (Throttled("503"), OSError("reset"), Throttled("503"))
    assert images.read(0).shape[0] == 3
    assert flaky.fetched.count("pack.json") == 3
    assert flaky.fetched.count("chunk-0-0.bin") == 4


def test_pauses_grow_and_the_long_ones_are_told(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(module, "DELAYS", (0.5, 1.0, 4.0))
    monkeypatch.setattr(module.time, "sleep", slept.append)

    def fail():
        raise Throttled("503\nSlow Down")

    with pytest.raises(Throttled):
        module.patiently(fail, "s3://bucket/a.bin")
    assert len(slept) == 3
    assert slept[0] <= 0.5 <= slept[1] <= 1 < slept[2] <= 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("s3://bucket/a.bin: 503 Slow Down; again in")


def test_what_does_not_come_back_ends_the_run_in_one_line(address, tmp_path, flaky):
    images = source(tmp_path, on_corrupt="skip").splits(address)["train"]
    flaky.failures = (Throttled("503 Slow\nDown"),) * 4
    with pytest.raises(ShardError) as caught:
        images.read(0)
    assert str(caught.value) == f"{address}/train/chunk-0-0.bin: 503 Slow Down"
    # The network is away, the shard is not damaged: it is no image to be left out.
    assert caught.value.advice == "resume the run when it can be read"
    assert images.read(0).shape[0] == 3


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError(13, "denied")])
def test_what_will_not_come_is_not_tried_again(address, tmp_path, flaky, error):
    flaky.failures = (error,)
    with pytest.raises(UsageError, match=r"pack.json (does not exist|cannot be read: denied)"):
        source(tmp_path).splits(address)
    assert flaky.fetched == ("pack.json",)


def test_half_a_file_is_fetched_again(address, tmp_path, monkeypatch, flaky):
    images = source(tmp_path).splits(address)["train"]
    fetch = Flaky.get_file
    cut = [100, 200]

    def short(self, path, target, **options):
        fetch(self, path, target, **options)
        if cut:
            os.truncate(target, cut.pop())

    monkeypatch.setattr(Flaky, "get_file", short)
    assert images.read(0).shape[0] == 3
    assert flaky.fetched.count("chunk-0-0.bin") == 3


def test_a_copy_that_is_damaged_is_fetched_anew(address, tmp_path, flaky):
    source(tmp_path).splits(address)["train"].read(0)
    (copy,) = kept(tmp_path)
    flip_byte(tmp_path / "cache" / copy)
    assert source(tmp_path).splits(address)["train"].read(0).shape[0] == 3
    assert flaky.fetched.count("chunk-0-0.bin") == 2


def test_an_original_that_is_damaged_is_fetched_twice_and_named(address, own_pack, tmp_path, flaky):
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    images = source(tmp_path).splits(address)["train"]
    for _ in range(2):
        with pytest.raises(ShardError, match=r"chunk-0-0.bin: its SHA-256") as caught:
            images.read(0)
        assert caught.value.place == f"{address}/train/chunk-0-0.bin"
    assert flaky.fetched.count("chunk-0-0.bin") == 2
    assert kept(tmp_path) == []


def test_what_is_fetched_again_is_checked_again(address, own_pack, tmp_path, flaky):
    shards = source(tmp_path).splits(address)["train"].shards
    expected = shards.open(0).image(0)
    # As another process would, to make room.
    (copy,) = kept(tmp_path)
    (tmp_path / "cache" / copy).unlink()
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    with pytest.raises(ShardError, match=r"chunk-0-0.bin: its SHA-256 is not"):
        shards.open(0)
    assert kept(tmp_path) == []
    assert not list((tmp_path / "cache").glob("*.part"))
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    assert source(tmp_path).splits(address)["train"].shards.open(0).image(0) == expected


def test_a_copy_that_comes_damaged_once_is_fetched_once_more(address, tmp_path, monkeypatch, flaky):
    images = source(tmp_path).splits(address)["train"]
    fetch = Flaky.get_file
    first = []

    def damaging(self, path, target, **options):
        fetch(self, path, target, **options)
        if not first:
            first.append(target)
            flip_byte(Path(target))

    monkeypatch.setattr(Flaky, "get_file", damaging)
    assert images.read(0).shape[0] == 3
    assert flaky.fetched.count("chunk-0-0.bin") == 2


def test_what_is_fetched_is_read_through_once(address, tmp_path, monkeypatch):
    digests = []
    for place in (check, digest_module):
        real = digest_module.digest
        monkeypatch.setattr(place, "digest", lambda f, real=real: digests.append(f) or real(f))
    source(tmp_path).splits(address)["train"].read(0)
    assert len(digests) == 1
    source(tmp_path).splits(address)["train"].read(0)  # the next run, of the copy
    assert len(digests) == 2


def test_a_copy_that_is_deleted_as_soon_as_it_is_there_is_read(address, tmp_path, monkeypatch):
    images = source(tmp_path).splits(address)["train"]
    replace = os.replace

    def gone(part, copy):
        replace(part, copy)
        os.unlink(copy)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", gone)
        assert images.read(0).shape[0] == 3
    assert kept(tmp_path) == []
    source(tmp_path).splits(address)["train"].read(0)
    utime = os.utime

    def late(copy, *times):
        os.unlink(copy)
        utime(copy, *times)

    monkeypatch.setattr(module.os, "utime", late)
    assert source(tmp_path).splits(address)["train"].read(0).shape[0] == 3


def test_others_do_not_give_up_while_a_damaged_copy_is_fetched_anew(
    address, tmp_path, monkeypatch, flaky
):
    source(tmp_path).splits(address)["train"].read(0)
    (copy,) = kept(tmp_path)
    flip_byte(tmp_path / "cache" / copy)
    images = source(tmp_path).splits(address)["train"]
    fetch = Flaky.get_file
    began = threading.Event()

    def slow(self, path, target, **options):
        began.set()
        threading.Event().wait(0.2)  # the other has come by then
        return fetch(self, path, target, **options)

    monkeypatch.setattr(Flaky, "get_file", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(images.shards.open, 0)
        assert began.wait(5)
        second = threads.submit(images.shards.open, 0)
        assert first.result().image(0) == second.result().image(0)


def test_an_original_that_is_gone_is_named(address, own_pack, tmp_path):
    (own_pack / "train" / "chunk-0-0.bin").unlink()
    with pytest.raises(ShardError, match=r"chunk-0-0.bin: there is no such file"):
        source(tmp_path).splits(address)["train"].read(0)


def test_many_at_once_fetch_a_file_once(address, tmp_path, monkeypatch, flaky):
    splits = [source(tmp_path).splits(address)["train"] for _ in range(4)]
    fetch = Flaky.get_file

    def slow(self, path, target, **options):
        threading.Event().wait(0.2)  # all others have come by then
        return fetch(self, path, target, **options)

    monkeypatch.setattr(Flaky, "get_file", slow)
    with ThreadPoolExecutor(8) as threads:
        shapes = list(threads.map(lambda n: splits[n % 4].read(n % 3).shape[0], range(16)))
    assert shapes == [3] * 16
    assert flaky.fetched.count("chunk-0-0.bin") == 1


def test_the_loader_fetches_ahead(address, tmp_path, flaky):
    images = source(tmp_path, window=2).splits(address)["train"]
    with images.expecting(lambda: np.arange(12)) as read:
        for _ in range(500):
            if len(kept(tmp_path)) == 3:
                break
            threading.Event().wait(0.01)
        assert len(kept(tmp_path)) == 3
        read(3)
        for _ in range(500):
            if len(kept(tmp_path)) == 4:
                break
            threading.Event().wait(0.01)
        assert len(kept(tmp_path)) == 4
    fetched = len(flaky.fetched)
    for index in range(12):
        images.read(index)
    assert len(flaky.fetched) == fetched


def test_what_was_not_opened_for_longest_makes_room(tmp_path):
    origin = tmp_path / "origin"
    origin.mkdir()
    listed = []
    for number in range(4):
        content = bytes([number]) * 100
        (origin / f"{number}.bin").write_bytes(content)
        listed.append(PackedFile(f"{number}.bin", 100, hashlib.sha256(content).hexdigest()))
    copies = [f"{file.sha256}.shard" for file in listed]
    store = AddressStore(f"flaky://{origin}", tmp_path / "cache", 250, {})
    for number in (0, 1):
        store.open(listed[number])
        os.utime(tmp_path / "cache" / copies[number], (number, number))
    store.open(listed[0])  # is the younger one now
    store.open(listed[2])
    assert kept(tmp_path) == sorted([copies[0], copies[2]])
    store.open(listed[3])
    assert copies[3] in kept(tmp_path)
    assert len(kept(tmp_path)) == 2


def test_reading_goes_on_where_there_is_room_for_a_part_only(address, packed, tmp_path):
    largest = max(path.stat().st_size for path in packed.rglob("*.bin"))
    with pytest.raises(UsageError, match=r"max_cache_bytes is .*: a window of 1 shards needs"):
        source(tmp_path, window=1, max_cache_bytes=3 * largest - 1).splits(address)
    images = source(tmp_path, window=1, max_cache_bytes=3 * largest).splits(address)["train"]
    here = ShardSource().splits(packed)["train"]
    for index in (0, 4, 8, 11, 0, 4, 8, 11):
        assert torch.equal(images.read(index), here.read(index))
    size = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.shard"))
    assert size <= 3 * largest


def test_there_must_be_room_for_all_processes_of_the_machine(packed, tmp_path):
    largest = max(path.stat().st_size for path in packed.rglob("*.bin"))
    room = {"window": 1, "max_cache_bytes": 12 * largest - 1}

    def set_up(processes):
        data = ColorizationDataModule(str(packed), source(tmp_path, **room), size=32)
        data.trainer = SimpleNamespace(num_devices=processes, world_size=1)
        data.setup()

    set_up(3)
    said = f"a window of 1 shards needs {12 * largest:,} for 4 processes of this machine"
    with pytest.raises(UsageError, match=said):
        set_up(4)


def test_a_full_disk_is_not_waited_for(address, tmp_path, flaky):
    images = source(tmp_path).splits(address)["train"]
    flaky.failures = (OSError(28, "No space left on device"),)
    with pytest.raises(ShardError, match="No space left on device"):
        images.read(0)


def test_the_root_tells_the_source(packed, photo_folder):
    assert isinstance(default_source(None), EmbeddedSource)
    assert isinstance(default_source(photo_folder), FolderSource)
    assert isinstance(default_source(packed), ShardSource)
    assert isinstance(default_source(parse_root("s3://bucket/shards")), ShardSource)
    assert parse_root("s3://bucket/shards") == "s3://bucket/shards"


@pytest.mark.parametrize(
    "other",
    [
        FolderSource(),
        ImageNetSource(),
        ManifestSource(),
        OxfordPetSource(),
        MixtureSource({"a": 1}),
    ],
    ids=lambda source: type(source).__name__,
)
def test_other_sources_refuse_an_address_in_one_line(other):
    with pytest.raises(UsageError, match="not s3://bucket/x: pack them with lightning"):
        other.splits("s3://bucket/x")


def test_an_unknown_kind_of_address_and_an_unpacked_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"teapot://x: .*teapot"):
        source(tmp_path).splits("teapot://x")
    with pytest.raises(UsageError, match=r"pack.json does not exist: ShardSource needs what"):
        ShardSource().splits(tmp_path)
    with pytest.raises(UsageError, match="window is 0: it must be at least 1"):
        ShardSource(window=0)
