"""Copies to a GPU that the host does not wait for, and batches that a thread prefetches."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from lightning_colorize.data.dataset import Shipped


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; from the CPU to a GPU it is copied from page-locked memory."""
    on_gpu = device.type == "cuda"
    pinned = tensor.pin_memory() if on_gpu and tensor.is_cpu else tensor
    return pinned.to(device, non_blocking=on_gpu)


def prefetched(batches: Iterator[Shipped], device: torch.device) -> Iterator[Shipped]:
    """Read a batch ahead in a thread and send it to a device; to a GPU in a stream of its own."""
    on_gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

    def step() -> Shipped | None:
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            batch = next(batches, None)
            return batch and batch._replace(rgb=to_device(batch.rgb, device))

    # A thread's device is GPU 0, where leaving a stream would allocate memory.
    begin = partial(torch.cuda.set_device, device) if on_gpu else None
    with ThreadPoolExecutor(1, "prefetch", initializer=begin) as thread:
        pending = thread.submit(step)
        while (batch := pending.result()) is not None:
            if stream is not None:
                user = torch.cuda.current_stream(device)
                user.wait_stream(stream)
                batch.rgb.record_stream(user)
            pending = thread.submit(step)
            yield batch
