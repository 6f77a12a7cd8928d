from functools import partial

import numpy as np
import pytest
import torch

from lightning_colorize.color import RawBatch
from lightning_colorize.data import convert
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.convert import to_color_batch
from tests.data.conftest import data_module

PIXELS = np.random.default_rng(0).integers(0, 256, size=(3, 3, 16, 16), dtype=np.uint8)
BATCH = RawBatch(torch.from_numpy(PIXELS), ["a", "b", "c"])


ALL = Augmentation(
    12, AugmentationOptions(rotation=5.0, grey_jitter=0.5, color_jitter=0.5, mixup=0.5)
)
DAMAGED = Augmentation(12, AugmentationOptions(blur=0.5, grain=0.5, aging=0.5, jpeg=0.5))
RESIZED = Augmentation(12, AugmentationOptions(crop_scale=None))

# The eager backend only checks that there is one graph; inductor compiles it.
COMPILED = [
    pytest.param(backend, augmentation, id=f"{backend}-{name}", marks=marks)
    for backend, augmentation, name, marks in (
        ("eager", None, "none", []),
        ("eager", DAMAGED, "damaged", []),
        ("inductor", ALL, "all", pytest.mark.slow),
        ("inductor", RESIZED, "resized", pytest.mark.slow),
    )
]


@pytest.mark.parametrize(("backend", "augmentation"), COMPILED)
def test_compiled_conversion_equals_eager(monkeypatch, backend, augmentation):
    """To 1e-4 of each scale, as one graph; the cheap backend also for an epoch's last batch."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    convert._compiled.cache_clear()
    for size in (3, 2) if backend == "eager" else (3,):
        images = RawBatch(BATCH.rgb[:size], BATCH.names[:size])
        torch.manual_seed(0)
        expected = to_color_batch(images, augmentation)
        following = torch.rand(1)
        torch.manual_seed(0)
        compiled = to_color_batch(images, augmentation, compiled=True)
        assert torch.rand(1) == following
        torch.testing.assert_close(compiled.L / 100, expected.L / 100, atol=1e-4, rtol=0)
        torch.testing.assert_close(compiled.ab / 110, expected.ab / 110, atol=1e-4, rtol=0)
        assert compiled.names == expected.names
    convert._compiled.cache_clear()
    torch.compiler.reset()


def test_data_module_compiles_on_request(photo_folder, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "lightning_colorize.common.compiling.compiler_fault", lambda device: calls.append(device)
    )
    monkeypatch.setattr(convert, "_compiled", lambda: calls.append("batch") or convert._convert)
    for compiles in (False, True):
        data = data_module(photo_folder, compile=compiles)
        data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
        assert calls == ([torch.device("cpu"), "batch"] if compiles else [])
