import torch

from lightning_colorize.color import ColorBatch


def test_color_batch_length_and_target():
    batch = ColorBatch(L=torch.zeros(3, 1, 4, 5), ab=torch.ones(3, 2, 4, 5), names=["a", "b", "c"])
    assert len(batch) == 3
    assert batch.target is None
    target = torch.full((3, 2, 4, 5), 0.5)
    with_target = batch.with_target(target)
    assert with_target.target is target
    assert with_target.L is batch.L
    assert with_target.ab is batch.ab
    assert with_target.names == ["a", "b", "c"]
    assert batch.target is None
