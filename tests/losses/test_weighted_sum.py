import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1, MSE, WeightedSum

PREDICTION = torch.full((1, 2, 2, 2), 0.5)
TRUTH = ColorBatch(torch.zeros(1, 1, 2, 2), PREDICTION, ["a"], torch.zeros(1, 2, 2, 2))


def test_weighted_terms_add_up():
    loss = WeightedSum({"mse": MSE(), "l1": L1()}, {"mse": 10.0, "l1": 3.0})
    terms = loss.terms(PREDICTION, TRUTH)
    assert {name: term.item() for name, term in terms.items()} == {"mse": 2.5, "l1": 1.5}
    assert loss(PREDICTION, TRUTH).item() == 4.0


def test_default_weight_is_one():
    loss = WeightedSum({"mse": MSE(), "l1": L1()}, {"mse": 0.0})
    assert loss(PREDICTION, TRUTH).item() == 0.5


def test_learnable_losses_are_found_by_the_optimizer():
    class Learnable(L1):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

    assert len(list(WeightedSum({"learnable": Learnable()}).parameters())) == 1


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="losses is empty"):
        WeightedSum({})
    with pytest.raises(ValueError, match=r"weights names \['l2'\], but the losses are \['l1'\]"):
        WeightedSum({"l1": L1()}, {"l2": 1.0})
