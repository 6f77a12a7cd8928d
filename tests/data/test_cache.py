import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.data import cache
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.image_set import FileImages, ImageSet, NameList

NAMES = ["b.png", "a.png", "bad.png", "long.png", "a.png"]


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(0)
    for name, (height, width) in {"a": (40, 60), "b": (90, 30), "long": (20, 200)}.items():
        pixels = random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    return FileImages(tmp_path, NAMES, np.arange(5.0))


@pytest.mark.parametrize("block", [2**26, 4000, 2500, 1])
def test_cached_images_equal_resized_files_that_are_read_once(files, monkeypatch, block):
    monkeypatch.setattr(cache, "_BLOCK", block)
    # b is three times as high as wide.
    expected = [resize_short_side(limit_length(files.read(index)), 16) for index in (0, 1, 3, 4)]
    cached = CachedImages(files, 16)
    for path in files.root.iterdir():
        path.unlink()
    assert [cached.name(i) for i in range(len(cached))] == ["b.png", "a.png", "long.png", "a.png"]
    assert cached.weights.tolist() == [0, 1, 3, 4]
    assert [(b.name, b.error.path) for b in cached.corrupt] == [("bad.png", files.root / "bad.png")]
    assert all(torch.equal(cached.read(i), rgb) for i, rgb in enumerate(expected))
    assert cached.read(1).shape == (3, 16, 24)


class Watched(ImageSet):
    """Counts its images that are alive outside the cache."""

    names = NameList(map(str, range(100)))
    refs: list
    most = 0

    def read(self, index, min_side=None):
        time.sleep(0.002)
        pixels = np.full((3, 8, 8), index, dtype=np.uint8)
        self.refs.append(weakref.ref(pixels))
        self.most = max(self.most, sum(ref() is not None for ref in self.refs))
        return torch.from_numpy(pixels)


def test_filling_makes_no_second_copy():
    watched = Watched()
    watched.refs = []
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
