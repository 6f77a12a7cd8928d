import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.color import AB_SCALE, ColorBatch
from lightning_colorize.losses import L1, CrossEntropy, WeightedSum
from lightning_colorize.networks import ClassificationHead
from tests.losses.conftest import with_target


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = ClassificationHead(4)
    torch.nn.init.normal_(head.conv.weight)
    return head


def batch_of(head, ab):
    L = torch.full_like(ab[:, :1], 50.0)
    return with_target(head, ColorBatch(L, ab, ["x"] * len(ab)))


def test_equals_torch_with_dense_codes(head):
    ab = torch.randn(2, 2, 8, 12) * 30
    logits = head(torch.randn(2, 4, 8, 12), (8, 12))
    nearest, codes = head.bins.encode(F.avg_pool2d(ab, 4))
    expected = F.cross_entropy(logits, torch.zeros_like(logits).scatter_(1, nearest, codes))
    torch.testing.assert_close(CrossEntropy()(logits, batch_of(head, ab)), expected)


def test_a_pixel_weighs_as_its_nearest_bin(head):
    ab = torch.zeros(1, 2, 4, 8)
    ab[..., 4:] = 50
    logits = torch.zeros(1, 313, 1, 2)
    before = CrossEntropy()(logits, batch_of(head, ab))
    red = int((head.bins.centers == 50).all(1).nonzero())
    head.bins.weights[red] = 7.0
    after = CrossEntropy()(logits, batch_of(head, ab))
    torch.testing.assert_close(after / before, torch.tensor(4.0))


def test_logits_of_half_precision_are_summed_in_fp32(head):
    ab = torch.randn(1, 2, 8, 8) * 30
    logits = torch.randn(1, 313, 2, 2).bfloat16()
    loss = CrossEntropy()(logits, batch_of(head, ab))
    torch.testing.assert_close(loss, CrossEntropy()(logits.float(), batch_of(head, ab)))


def test_regression_losses_take_the_decoded_colors(head):
    ab = torch.randn(1, 2, 8, 8) * 30
    batch = batch_of(head, ab)
    logits = torch.randn(1, 313, 2, 2, requires_grad=True)
    loss = L1()(logits, batch)
    torch.testing.assert_close(loss, (batch.decode(logits) - ab).abs().mean() / AB_SCALE)
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_a_sum_needs_the_head_of_its_terms():
    both = WeightedSum({"classes": CrossEntropy(), "l1": L1()})
    assert both.head is ClassificationHead
    assert WeightedSum({"l1": L1()}).head is not ClassificationHead


def test_another_head_is_refused():
    ab = torch.zeros(1, 2, 4, 4)
    with pytest.raises(ValueError, match="ClassificationHead"):
        CrossEntropy()(ab, ColorBatch(ab[:, :1], ab, ["x"], target=ab))
