"""Batches as the tasks give them, for any head, and predictions of given colors."""

from dataclasses import dataclass, replace

import pytest
import torch

from lightning_colorize.color import AB_SCALE, ColorBatch, to_lab
from lightning_colorize.networks import AbHead, ClassificationHead, ColorizationNetwork, ConvEncoder
from lightning_colorize.networks.base import Head


def with_target(head, batch):
    net = ColorizationNetwork(ConvEncoder([4]), torch.nn.Identity(), head)
    decode = lambda p: net.to_ab(p, batch.L.shape[-2:]).float() * AB_SCALE  # noqa: E731
    return replace(batch, target=head.target(batch.ab / AB_SCALE), decode=decode)


@dataclass
class Setting:
    """A head, a batch of random images, and the head's predictions."""

    head: Head
    batch: ColorBatch

    def predict(self, ab):
        """Return the prediction of the head that decodes to (about) ab, in LAB units."""
        if not isinstance(self.head, ClassificationHead):
            return self.head.target(ab / AB_SCALE).clone()
        self.head.set_decoding(1.0, 1.0)
        small = torch.nn.functional.avg_pool2d(ab, 4)
        return -torch.cdist(small.movedim(1, 3), self.head.bins.centers).movedim(3, 1) / 2


def smooth_images(seed, count=2):
    """Return L and ab, inside sRGB, of smooth images of 32 x 32 pixels."""
    rgb = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return to_lab(torch.nn.functional.interpolate(rgb, size=32, mode="bilinear"))


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
    return Setting(head, with_target(head, ColorBatch(L, ab, ["a", "b"])))
