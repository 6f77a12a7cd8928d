import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.data import cache
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.images import FileImages, ImageSet


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, (height, width) in {"a": (40, 60), "b": (90, 30), "long": (20, 200)}.items():
        pixels = random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    return tmp_path


def test_cached_images_equal_resized_files_that_are_read_once(folder):
    files = FileImages(folder, ["b.png", "a.png"])
    # b is three times as high as wide.
    expected = [resize_short_side(files.read(index), 16) for index in range(2)]
    cached = CachedImages(files, 16)
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    assert [cached.name(index) for index in range(len(cached))] == ["b.png", "a.png"]
    assert all(torch.equal(cached.read(index), expected[index]) for index in range(2))
    assert cached.read(1).shape == (3, 16, 24)


def test_corrupt_images_are_left_out_with_their_weights(folder):
    weights = np.array([1.0, 2.0, 3.0])
    cached = CachedImages(FileImages(folder, ["a.png", "bad.png", "b.png"], weights), 16)
    assert [cached.name(i) for i in range(len(cached))] == ["a.png", "b.png"]
    assert cached.weights.tolist() == [1.0, 3.0]
    assert [(b.name, b.error.path) for b in cached.corrupt] == [("bad.png", folder / "bad.png")]
    assert torch.equal(cached.read(1), CachedImages(FileImages(folder, ["b.png"]), 16).read(0))


def test_many_blocks_equal_one_block(folder, monkeypatch):
    files = FileImages(folder, ["b.png", "a.png", "bad.png", "long.png", "a.png"])
    whole = CachedImages(files, 16)
    for block in (1, 2500, 4000):
        monkeypatch.setattr(cache, "_BLOCK", block)
        parts = CachedImages(files, 16)
        assert [parts.name(i) for i in range(4)] == ["b.png", "a.png", "long.png", "a.png"]
        assert all(torch.equal(parts.read(i), whole.read(i)) for i in range(4))


class Watched(ImageSet):
    """Counts its images that are alive outside the cache."""

    def __init__(self, count):
        self.count = count
        self.refs = []
        self.most = 0

    def __len__(self):
        return self.count

    def name(self, index):
        return str(index)

    def read(self, index, min_side=None):
        time.sleep(0.002)
        pixels = np.full((3, 8, 8), index, dtype=np.uint8)
        self.refs.append(weakref.ref(pixels))
        self.most = max(self.most, sum(ref() is not None for ref in self.refs))
        return torch.from_numpy(pixels)


def test_filling_makes_no_second_copy():
    watched = Watched(100)
    cached = CachedImages(watched, 8)
    assert [int(cached.read(i)[0, 0, 0]) for i in (0, 50, 99)] == [0, 50, 99]
    assert watched.most < 50


def test_control_group_memory_limit(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(cache, "Path", lambda _: limit)
    installed = cache.machine_memory()
    limit.write_text("1048576\n")
    assert cache.machine_memory() == 2**20
    limit.write_text("max\n")
    assert cache.machine_memory() == installed > 2**20
