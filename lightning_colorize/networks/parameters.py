"""How many numbers a network learns."""

from torch import nn


def parameter_count(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters are trainable and how many are frozen."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return trainable, frozen
