"""Copies to a GPU, with stand-ins for tensors there."""

from contextlib import nullcontext

import pytest
import torch

from lightning_colorize.data import augmentation
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.dataset import Shipped
from lightning_colorize.data.device import transfer
from lightning_colorize.data.device.transfer import prefetched, to_device

CUDA = torch.device("cuda")


def test_copies_to_a_gpu_are_from_pinned_memory_and_do_not_block(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: calls.append("pinned") or x)
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *to, **how: calls.append((*to, how)) or x)
    x = torch.ones(2)
    assert to_device(x, CUDA) is x
    assert to_device(x, torch.device("mps")) is x  # where such copies may read too late
    assert calls == [
        "pinned",
        (CUDA, {"non_blocking": True}),
        (torch.device("mps"), {"non_blocking": False}),
    ]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_draw_is_sent_in_one_copy(monkeypatch, share):
    copies = []
    monkeypatch.setattr(augmentation, "to_device", lambda x, device: copies.append(x) or x)
    options = AugmentationOptions(grey_jitter=share, mixup=share)
    draw = Augmentation(8, options).draw(torch.Size([5, 3, 9, 9]))
    sent = draw.to(CUDA)
    assert len(copies) == 1
    for one, other in zip(draw, sent, strict=True):
        assert one is other is None or torch.equal(one, other)


def test_a_batch_is_copied_in_another_stream_and_waited_for_there(monkeypatch):
    log = []

    class Stream(nullcontext):
        def __enter__(self):
            log.append(("enters", self))

        def wait_stream(self, other):
            log.append(("waits for", other))

    ours, users = Stream(), Stream()
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: log.append(device))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: ours)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: users)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, stream: log.append(stream))
    monkeypatch.setattr(transfer, "to_device", lambda x, device: log.append("copies") or x)
    batches = prefetched(iter([Shipped(torch.ones(1), [0], [])]), CUDA)
    assert next(batches).indices == [0]
    assert log[:5] == [CUDA, ("enters", ours), "copies", ("waits for", ours), users]
    assert list(batches) == []
