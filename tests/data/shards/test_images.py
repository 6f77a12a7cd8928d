import gc
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import ShardSource


@pytest.fixture
def train(packed):
    return ShardSource(window=2).splits(packed)["train"]


def all_of(images):
    return [images.read(i) for i in range(len(images))]


def open_shards():
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return [path for path in map(os.path.realpath, links) if path.endswith(".bin")]


def test_threads_read_the_same_images(packed):
    # With a window of one shard, files are opened and closed often.
    train = ShardSource(window=1).splits(packed)["train"]
    expected = all_of(train)
    copy = pickle.loads(pickle.dumps(train))
    numbers = [n for _ in range(20) for n in range(12)]
    with ThreadPoolExecutor(8) as threads:
        for number, rgb in zip(numbers, threads.map(copy.read, numbers), strict=True):
            assert torch.equal(rgb, expected[number])


def test_open_files_are_limited_to_the_window_and_closed_with_the_images(packed):
    gc.collect()
    before = len(open_shards())
    images = ShardSource(window=2).splits(packed)["train"]
    all_of(images)
    assert len(open_shards()) - before == 2
    del images
    gc.collect()
    assert len(open_shards()) == before


def test_images_are_writable_copies(packed_uint8):
    images = ShardSource().splits(packed_uint8)["train"]
    assert torch.equal(images.read(-1), images.read(11))
    with pytest.raises(IndexError):
        images.read(12)
    first = images.read(0)
    first += 1
    assert not torch.equal(images.read(0), first)


def test_cached_images_have_the_same_order(packed):
    epochs = []
    for cache in ("always", "never"):
        data = ColorizationDataModule(root=str(packed), size=32, batch_size=4, cache=cache, seed=1)
        data.num_workers = 0
        data.setup()
        assert isinstance(data.images("train"), CachedImages) == (cache == "always")
        epochs.append([(batch.names, batch.rgb) for batch in data.loader("train")])
    for (names, rgb), (same, equal) in zip(*epochs, strict=True):
        assert names == same
        assert torch.equal(rgb, equal)


def test_exclude_list(packed, tmp_path):
    names = list(ShardSource().splits(packed)["train"].names)
    (tmp_path / "out.txt").write_text("\n".join([names[1], *names[3:6]]))
    splits = ShardSource(exclude_list=tmp_path / "out.txt").splits(packed)
    images = splits["train"]
    assert [images.name(i) for i in range(len(images))] == [names[0], names[2], *names[6:]]
    whole = ShardSource().splits(packed)["train"]
    for index, number in enumerate([0, 2, *range(6, 12)]):
        assert torch.equal(images.read(index), whole.read(number))
    assert images.order.lengths.tolist() == [2, 0, 3, 3]
    assert len(splits["val"]) == 5
