"""Images in a device's memory; here in the CPU's, by the same code."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import bytes_needed
from lightning_colorize.data.dataset import ImageDataset
from lightning_colorize.data.device import cached
from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages, DeviceMemory
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.module import ColorizationDataModule
from tests.data.conftest import assert_same

CPU = torch.device("cpu")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", [100_000, 3000])
def test_gathered_squares_equal_those_of_image_dataset(tmp_path, monkeypatch, training, block):
    random = np.random.default_rng(0)
    for number, shape in enumerate([(40, 60), (90, 30), (20, 200), (33, 33), (50, 31)]):
        pixels = random.integers(0, 256, size=(*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    names = ["0.png", "1.png", "bad.png", "2.png", "3.png", "4.png"]
    monkeypatch.setattr(cached, "bytes_needed", lambda count, side: block)
    images = DeviceImages(FileImages(tmp_path, names), 16, DeviceMemory(CPU))
    assert len(images._blocks) == (1 if block == 100_000 else 4)
    assert [broken.name for broken in images.corrupt] == ["bad.png"]
    order = [4, 0, 3, 1, 2, 2, 0, 4, 1, 3, 0, 2]
    keys = list(zip(order, random.integers(0, 2**32, 12).tolist(), strict=True))
    placed, usual = (kind(images, 16, training) for kind in (DeviceDataset, ImageDataset))
    (ours,) = placed.batches(iter([placed.collate(placed.__getitems__(keys))]))
    expected = usual.collate([usual[key] for key in keys])
    assert ours.indices == expected.indices == order
    assert ours.rgb.dtype == torch.uint8
    assert torch.equal(ours.rgb, expected.rgb)
    assert ours.corrupt == []


def data_module(folder, cache, **options):
    options = {"size": 24, "batch_size": 5, "pin_memory": True, "seed": 7, **options}
    return ColorizationDataModule(str(folder), cache=cache, **options)


def test_device_cache_equals_memory_cache(photo_folder):
    usual, ours = (
        data_module(photo_folder, "always"),
        data_module(photo_folder, "device", num_workers=2),
    )
    for data in (usual, ours):
        data.setup("fit")
        data.setup("test")
    for split in ("train", "val", "test"):
        expected, loader = usual.loader(split), ours.loader(split)
        assert isinstance(ours.images(split), DeviceImages)
        assert (loader.num_workers, loader.options["pin_memory"]) == (0, False)
        for _ in range(2):
            assert_same(loader, expected)


def test_images_that_do_not_fit_are_refused(photo_folder, monkeypatch):
    # Room for the training images and for half of the others.
    need = bytes_needed(12, 27) + 2.5 * bytes_needed(1, 24)
    monkeypatch.setattr(cached, "machine_memory", lambda: int(need / cached.SHARE))
    data = data_module(photo_folder, "device")
    with pytest.raises(UsageError, match=r"(?s)^--data.cache: device\n.*may take 50% of the") as no:
        data.setup("fit")
    assert str(no.value).count("\n") == 1
    assert list(data._images) == ["train"]


def test_memory_in_use_is_not_available(monkeypatch):
    monkeypatch.setattr(cached, "_memory", lambda device: (100, 1000))
    memory = DeviceMemory(CPU)
    assert len(memory.take(100)) == 100
    with pytest.raises(UsageError, match="of which"):
        memory.take(101)
