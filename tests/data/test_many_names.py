"""1.3 million names and eight workers: memory, and how long an epoch takes to begin."""

import json
import multiprocessing
import re
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.dataset import ImageDataset, Item
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.loader import EpochBatches, ImageLoader
from lightning_colorize.data.order import AnyOrder, ShardOrder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MANY = 1_300_000
WORKERS = 8
BATCH = 500
EPOCH = 600  # batches that are read: in random order they touch nearly all pages of the names
PIXEL = torch.zeros(3, 1, 1, dtype=torch.uint8)


class IndexReads(ImageDataset):
    """Looks up an image's name and returns a constant pixel."""

    def _item(self, index, position):
        self.images.name(index)
        return Item(PIXEL, index, [])


def imagenet(count):
    return FileImages(Path("photos"), (f"train/n{i // 1300:08}/n{i:08}.JPEG" for i in range(count)))


def memory():
    """Bytes of this process and its children, pages that they share counted once."""
    children = [str(child.pid) for child in multiprocessing.active_children()]
    total = 0
    for process in ("self", *children):
        with suppress(ProcessLookupError, FileNotFoundError):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) * 1024
    return total


def measure(count, by_shards, output):
    """Read the names of many batches; write the memory and the seconds to each first batch."""
    torch.set_num_threads(1)
    order = ShardOrder(np.full(count // 500, 500), 8) if by_shards else AnyOrder()
    images = imagenet(count)
    loader = ImageLoader(
        IndexReads(images, 1, training=True),
        EpochBatches(count, BATCH, shuffle=True, order=order),
        CorruptImages(count, 0.0),
        seed_batches=True,
        num_workers=WORKERS,
        multiprocessing_context="fork",  # not the default in a spawned process
    )
    begun = []
    for batches in (EPOCH, 1):
        start = time.perf_counter()
        for number, _ in enumerate(islice(loader, batches)):
            if not number:
                begun.append(time.perf_counter() - start)
    output.write_text(json.dumps({"memory": memory(), "begun": begun}))


def spawned(count, by_shards, output):
    """Return what `measure` writes in a new process, without the memory of this one."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=measure, args=(count, by_shards, output))
    process.start()
    process.join()
    assert process.exitcode == 0
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return spawned(1000, False, tmp_path_factory.mktemp("few") / "measured.json")


@pytest.mark.parametrize("by_shards", [False, True])
def test_million_names_take_little_memory_and_time(few, tmp_path, by_shards):
    many = spawned(MANY, by_shards, tmp_path / "measured.json")
    print(few, many)
    growth = many["memory"] - few["memory"]
    assert growth < 300e6, f"{growth / 1e6:.0f} MB"
    first, second = many["begun"]
    assert second < 2
    # The first epoch also starts eight processes, which takes as long for few names.
    assert first < 2 + few["begun"][0]
