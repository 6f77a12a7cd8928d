"""The moving average of a network's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_Tensors = tuple[Tensor, ...] | list[Tensor]


class AveragedNetwork(AveragedModel):
    """An exponential moving average of a network, updated once per optimizer step.

    The decay of update n is at most (1 + n) / (10 + n), so the random initial weights are soon
    forgotten. Batch norm statistics are averaged like weights; batch counters are copied.

    Args:
        network: The network to average; copied, without gradients.
        decay: Weight of the previous average at each update, after warm-up.

    Raises:
        ValueError: If the decay is not in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, not {decay}")

        def average(averaged: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
            if not averaged[0].is_floating_point():
                torch._foreach_copy_(averaged, current)
                return
            done = float(updates)
            kept = min(decay, (1 + done) / (10 + done))
            torch._foreach_lerp_(averaged, current, 1 - kept)

        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.requires_grad_(False)
