"""How a split's images reach the device: cached or from files, as pixels or as encoded files."""

from types import SimpleNamespace
from typing import Literal

import torch

from lightning_colorize.common.processes import cores
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.dataset import ImageDataset, Resize
from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages
from lightning_colorize.data.device.decode import DeviceDecoder, JpegDataset, require_decoder
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.loader import Receive

Cache = Literal["auto", "always", "never", "device"]
"""Where decoded images are cached: in the machine's memory if they fit, always there, nowhere, or
in the device's memory."""

Decode = Literal["cpu", "device"]
"""Where JPEGs that are not cached are decoded: in the loader's workers, or on the device."""


NO_TRAINER = SimpleNamespace(
    global_rank=0,
    world_size=1,
    num_devices=1,
    strategy=SimpleNamespace(root_device=torch.device("cpu")),
    training=False,
    fast_dev_run=0,
    overfit_batches=0,
    max_epochs=-1,
    limit_train_batches=1.0,
    limit_val_batches=1.0,
    limit_test_batches=1.0,
    default_root_dir=None,
)
"""The attributes of a Trainer that reading depends on, of a single CPU process without one."""


def worker_count(images: ImageSet, asked: int | None, local_ranks: int) -> int:
    """Return how many processes read images; with `asked` None, as many as are useful."""
    if isinstance(images, DeviceImages):
        return 0
    if asked is not None:
        return asked
    if isinstance(images, CachedImages):
        return 0
    return max(1, min(8, cores() // local_ranks))


def squares(
    images: ImageSet,
    side: int,
    training: bool,
    resize: Resize,
    decode: Decode,
    device: torch.device,
) -> tuple[ImageDataset, Receive]:
    """Return the data set of square crops, and what turns its batches into pixels.

    In training, squares are at random positions and corrupt images are replaced.
    """
    if isinstance(images, DeviceImages):
        placed = DeviceDataset(images, side, training)
        return placed, placed.batches
    decoded = ImageDataset(images, side, training, resize)
    if decode == "device" and not isinstance(images, CachedImages):
        require_decoder(device)
        encoded = JpegDataset(images, side, training, resize)
        return encoded, DeviceDecoder(device, decoded).batches
    return decoded, iter
