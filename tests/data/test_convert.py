import numpy as np
import torch
from skimage.color import rgb2lab

from lightning_colorize.color import RawBatch
from lightning_colorize.data.augmentation import Augmentation
from lightning_colorize.data.convert import to_color_batch


def raw(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, size=(3, 16, 16, 3), dtype=np.uint8)
    return pixels, RawBatch(torch.from_numpy(pixels).permute(0, 3, 1, 2), ["a", "b", "c"])


def test_it_is_scikit_images_lab_without_a_trainer():
    pixels, batch = raw()
    converted = to_color_batch(batch)
    lab = torch.from_numpy(rgb2lab(pixels)).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(converted.L, lab[:, :1], atol=5e-3, rtol=0)
    torch.testing.assert_close(converted.ab, lab[:, 1:], atol=5e-3, rtol=0)
    assert converted.names == ["a", "b", "c"]
    assert len(converted) == 3


def test_autocast_does_not_reach_it():
    _, batch = raw()
    augmentation = Augmentation(16, 0.5, (0.6, 1.0), rotation=5.0, grey_jitter=1.0)
    for how in (None, augmentation):
        torch.manual_seed(0)
        expected = to_color_batch(batch, how)
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            converted = to_color_batch(batch, how)
        assert converted.L.dtype == converted.ab.dtype == torch.float32
        assert torch.equal(converted.L, expected.L)
        assert torch.equal(converted.ab, expected.ab)
