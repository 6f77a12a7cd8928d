"""Batches as the tasks give them, for any head, and predictions of given colors."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from lightning_colorize.color import AB_SCALE, ColorBatch, to_lab
from lightning_colorize.networks import AbHead, ClassificationHead, ColorizationNetwork, ConvEncoder
from lightning_colorize.networks.base import Head


@dataclass
class Setting:
    """A head, a batch of random images, and the head's predictions."""

    head: Head
    batch: ColorBatch

    def with_target(self, batch):
        net = ColorizationNetwork(ConvEncoder([4]), torch.nn.Identity(), self.head)
        decode = lambda p, size: net.to_ab(p, size).float() * AB_SCALE  # noqa: E731
        target = self.head.target(batch.ab / AB_SCALE)
        return replace(batch, target=target, decode=partial(decode, size=batch.L.shape[-2:]))

    def predict(self, ab):
        """Return the prediction of the head that decodes to (about) ab, in LAB units."""
        if not isinstance(self.head, ClassificationHead):
            return self.head.target(ab / AB_SCALE).clone()
        self.head.set_decoding(1.0, 1.0)
        small = torch.nn.functional.avg_pool2d(ab, 4)
        return -torch.cdist(small.movedim(1, 3), self.head.bins.centers).movedim(3, 1) / 2


def smooth_images(seed, size=32):
    """Return L and ab, inside sRGB, of smooth images."""
    rgb = torch.rand(2, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    return to_lab(torch.nn.functional.interpolate(rgb, size=size, mode="bilinear"))


def batch_of(L, ab):
    """Return a batch of a head that predicts ab in -1..1."""
    return ColorBatch(L, ab, ["x"] * len(L), ab / AB_SCALE, lambda x: x.float() * AB_SCALE)


@pytest.fixture(params=["-1..1", "0..1", "classes"])
def setting(request):
    """A batch with target and decoding, for each kind of head."""
    torch.manual_seed(0)
    if request.param == "classes":
        head = ClassificationHead(4)
    else:
        head = AbHead(4, target_range=request.param, activation="none")
    L, ab = smooth_images(seed=1)
    made = Setting(head, ColorBatch(L, ab, ["a", "b"]))
    made.batch = made.with_target(made.batch)
    return made
