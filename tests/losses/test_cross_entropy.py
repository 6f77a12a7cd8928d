import pytest
import torch

from lightning_colorize.color import AB_SCALE, ColorBatch
from lightning_colorize.losses import L1, CrossEntropy, WeightedSum
from lightning_colorize.networks import ClassificationHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = ClassificationHead(4)
    torch.nn.init.normal_(head.conv.weight)
    return head


def batch_of(head, ab):
    return ColorBatch(
        torch.full_like(ab[:, :1], 50.0),
        ab,
        ["x"] * len(ab),
        target=head.target(ab / AB_SCALE),
        decode=lambda prediction: (
            head.to_ab(prediction).repeat_interleave(4, 2).repeat_interleave(4, 3) * AB_SCALE
        ),
    )


def test_equals_torch_with_dense_codes(head):
    ab = torch.randn(2, 2, 8, 12) * 30
    batch = batch_of(head, ab)
    logits = head(torch.randn(2, 4, 8, 12), (8, 12))
    nearest, codes = head.bins.encode(torch.nn.functional.avg_pool2d(ab, 4))
    dense = torch.zeros_like(logits).scatter_(1, nearest, codes)
    expected = torch.nn.functional.cross_entropy(logits, dense)
    torch.testing.assert_close(CrossEntropy()(logits, batch), expected)


def test_a_pixel_weighs_as_its_nearest_bin(head):
    ab = torch.zeros(1, 2, 4, 8)
    ab[..., 4:] = 50
    logits = torch.zeros(1, 313, 1, 2)
    before = CrossEntropy()(logits, batch_of(head, ab))
    red = int((head.bins.centers == 50).all(1).nonzero())
    head.bins.weights[red] = 7.0
    after = CrossEntropy()(logits, batch_of(head, ab))
    torch.testing.assert_close(after / before, torch.tensor(4.0))


def test_falls_when_logits_get_closer(head):
    ab = torch.randn(1, 2, 8, 8) * 30
    batch = batch_of(head, ab)
    logits = torch.zeros(1, 313, 2, 2, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=10.0)
    losses = []
    for _ in range(20):
        loss = CrossEntropy()(logits, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2


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
