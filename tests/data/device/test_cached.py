"""Images in a device's memory; here in the CPU's, by the same code."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import CachedImages, bytes_needed
from lightning_colorize.data.device import cached
from lightning_colorize.data.device.cached import DeviceImages
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.module import SINGLE_PROCESS, ColorizationDataModule
from tests.data.conftest import assert_same, data_module


@pytest.mark.parametrize("blocks", ["one", "several"])
def test_device_cache_equals_memory_cache(photo_folder, monkeypatch, blocks):
    if blocks == "several":  # one for each image
        monkeypatch.setattr(cached, "bytes_needed", lambda count, side: 0)
    options = {"batch_size": 5, "pin_memory": True}
    usual = data_module(photo_folder, cache="always", **options)
    ours = data_module(photo_folder, cache="device", num_workers=2, **options)
    for split in ("train", "val", "test"):
        expected, loader = usual.loader(split), ours.loader(split)
        assert isinstance(ours.images(split), DeviceImages)
        assert (len(ours.images(split)._blocks) > 1) == (blocks == "several")
        assert (loader.num_workers, loader.options["pin_memory"]) == (0, False)
        for _ in range(2):
            assert_same(loader, expected)


def test_images_that_do_not_fit_are_refused(photo_folder, monkeypatch):
    # Room for the training images and for half of the others.
    need = bytes_needed(12, 36) + 2.5 * bytes_needed(1, 32)
    monkeypatch.setattr(cached, "machine_memory", lambda: int(need / cached.SHARE))
    data = ColorizationDataModule(str(photo_folder), size=32, cache="device")
    with pytest.raises(UsageError, match=r"(?s)^--data.cache: device\n.*may take 50% of the") as no:
        data.setup("fit")
    assert str(no.value).count("\n") == 1
    assert list(data._images) == ["train"]


def test_memory_in_use_is_not_available(tmp_path, monkeypatch):
    Image.new("RGB", (24, 16)).save(tmp_path / "0.png")
    monkeypatch.setattr(cached, "_memory", lambda device: (bytes_needed(1, 16) - 1, 10_000))
    with pytest.raises(UsageError, match="of which"):
        DeviceImages(FileImages(tmp_path, ["0.png"]), 16, torch.device("cpu"))


@pytest.mark.parametrize(
    ("room", "on_device"),
    [(4.01, {"train", "val"}), (3.99, {"train"}), (2.0, {"val"}), (0.5, set())],
)
def test_auto_caches_on_a_cuda_device_what_fits_into_a_quarter(
    photo_folder, monkeypatch, room, on_device
):
    need = {"train": bytes_needed(12, 36), "val": bytes_needed(5, 32)}
    taken, made = [], []

    def on_cpu(images, side, device, *args):
        assert device.type == "cuda"
        taken.append(bytes_needed(len(images), side))
        made.append(DeviceImages(images, side, torch.device("cpu"), *args))
        return made[-1]

    def memory(device):
        free = room * sum(need.values()) - sum(taken) if device.type == "cuda" else 2**30
        return free, 2**30

    monkeypatch.setattr(cached, "_memory", memory)
    monkeypatch.setattr("lightning_colorize.data.module.DeviceImages", on_cpu)
    data = ColorizationDataModule(str(photo_folder), size=32, num_workers=0)
    cuda = SimpleNamespace(root_device=torch.device("cuda"), reduce_boolean_decision=bool)
    data.trainer = SimpleNamespace(
        **vars(SINGLE_PROCESS) | {"strategy": cuda, "callbacks": [], "max_steps": 1}
    )
    data.setup("fit")
    assert {split for split in need if any(data.images(split) is images for images in made)} == (
        on_device
    )
    assert all(isinstance(data.images(split), CachedImages) for split in need)
