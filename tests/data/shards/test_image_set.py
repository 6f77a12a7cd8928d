import gc
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import ShardSource
from tests.data.conftest import assert_same


def train(packed, **options):
    return ShardSource(**options).splits(packed)["train"]


def open_shards():
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(path.endswith(".bin") for path in map(os.path.realpath, links))


def test_threads_read_the_same_images(packed):
    images = train(packed, window=1)  # files are opened and closed often
    expected = [images.read(i) for i in range(12)]
    copy = pickle.loads(pickle.dumps(images))
    numbers = [n for _ in range(20) for n in range(12)]
    with ThreadPoolExecutor(8) as threads:
        for number, rgb in zip(numbers, threads.map(copy.read, numbers), strict=True):
            assert torch.equal(rgb, expected[number])


def test_open_files_are_limited_to_the_window_and_closed_with_the_images(packed):
    gc.collect()
    before = open_shards()
    images = train(packed, window=2)
    for index in range(len(images)):
        images.read(index)
    assert open_shards() - before == 2
    del images
    gc.collect()
    assert open_shards() == before


def test_images_are_writable_copies(packed_uint8):
    images = train(packed_uint8)
    assert torch.equal(images.read(-1), images.read(11))
    with pytest.raises(IndexError):
        images.read(12)
    first = images.read(0)
    first += 1
    assert not torch.equal(images.read(0), first)


def test_cached_images_have_the_same_order(packed):
    settings = {"root": str(packed), "size": 32, "batch_size": 4, "seed": 1}
    modules = [ColorizationDataModule(cache=cache, **settings) for cache in ("always", "never")]
    for data in modules:
        data.setup()
        assert isinstance(data.images("train"), CachedImages) == (data.cache == "always")
    assert_same(*(data.loader("train") for data in modules))


def test_exclude_list(packed, tmp_path):
    whole = train(packed)
    names = list(whole.names)
    (tmp_path / "out.txt").write_text("\n".join([names[1], *names[3:6]]))
    splits = ShardSource(exclude_list=tmp_path / "out.txt").splits(packed)
    images = splits["train"]
    left = [0, 2, *range(6, 12)]
    assert [images.name(i) for i in range(len(images))] == [names[number] for number in left]
    for index, number in enumerate(left):
        assert torch.equal(images.read(index), whole.read(number))
    assert images.order.lengths.tolist() == [2, 0, 3, 3]
    assert len(splits["val"]) == 5
