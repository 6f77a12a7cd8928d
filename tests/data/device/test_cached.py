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
from lightning_colorize.data.images import FileImages
from lightning_colorize.data.module import ColorizationDataModule

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    shapes = [(40, 60), (90, 30), (20, 200), (33, 33), (50, 31)]
    for number, (height, width) in enumerate(shapes):
        pixels = random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    return tmp_path


NAMES = ["0.png", "1.png", "bad.png", "2.png", "3.png", "4.png"]


def gathered(images, keys, side, **options):
    dataset = DeviceDataset(images, side, **options)
    ((raw, broken),) = dataset.batches(iter([dataset.collate(dataset.__getitems__(keys))]))
    assert broken == []
    return raw


@pytest.mark.parametrize("random_crop", [True, False])
@pytest.mark.parametrize("block", [100_000, 3000])
def test_gathered_squares_equal_those_of_image_dataset(folder, monkeypatch, random_crop, block):
    monkeypatch.setattr(cached, "bytes_needed", lambda count, side: block)
    images = DeviceImages(FileImages(folder, NAMES), 16, DeviceMemory(CPU))
    assert len(images._blocks) == (1 if block == 100_000 else 4)
    assert [broken.name for broken in images.corrupt] == ["bad.png"]
    draws = np.random.default_rng(1).integers(0, 2**32, 12).tolist()
    keys = list(zip([4, 0, 3, 1, 2, 2, 0, 4, 1, 3, 0, 2], draws, strict=True))
    raw = gathered(images, keys, 16, random_crop=random_crop)
    usual = ImageDataset(images, 16, random_crop=random_crop)
    expected, _ = usual.collate([usual[key] for key in keys])
    assert raw.names == expected.names == [f"{index}.png" for index, _ in keys]
    assert raw.rgb.dtype == torch.uint8
    assert torch.equal(raw.rgb, expected.rgb)


def batches(folder, cache, split, **options):
    data = ColorizationDataModule(
        str(folder), size=24, batch_size=5, pin_memory=True, cache=cache, seed=7, **options
    )
    data.setup("fit")
    data.setup("test")
    loader = data.loader(split)
    return [(batch.names, batch.rgb) for _ in range(2) for batch in loader], data


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_device_cache_equals_memory_cache(photo_folder, split):
    usual, _ = batches(photo_folder, "always", split)
    ours, data = batches(photo_folder, "device", split, num_workers=2)
    assert isinstance(data.images(split), DeviceImages)
    loader = data.loader(split)
    assert (loader.num_workers, loader.reader.pin_memory) == (0, False)
    assert len(usual) == len(ours) >= 2
    for (names, rgb), (same_names, same) in zip(usual, ours, strict=True):
        assert names == same_names
        assert torch.equal(rgb, same)


def test_images_that_do_not_fit_are_refused(photo_folder, monkeypatch):
    # Room for the training images and for half of the others.
    need = bytes_needed(12, 27) + 2.5 * bytes_needed(1, 24)
    memory = int(need / cached.SHARE)
    monkeypatch.setattr(cached, "machine_memory", lambda: memory)
    data = ColorizationDataModule(str(photo_folder), size=24, cache="device", num_workers=0)
    with pytest.raises(UsageError) as refused:
        data.setup("fit")
    option, accepted = str(refused.value).splitlines()
    assert option == "--data.cache: device"
    assert "may take 50% of the" in accepted
    assert "lower --data.size" in accepted
    assert list(data._images) == ["train"]


def test_memory_in_use_is_not_available(monkeypatch):
    monkeypatch.setattr(cached, "_memory", lambda device: (100, 1000))
    memory = DeviceMemory(CPU)
    assert len(memory.take(100)) == 100
    with pytest.raises(UsageError, match="of which"):
        memory.take(101)
