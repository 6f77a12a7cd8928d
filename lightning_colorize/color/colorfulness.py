"""The colorfulness of RGB images."""

import torch
from torch import Tensor


def colorfulness(rgb: Tensor, absolute: bool = False) -> Tensor:
    """Return the colorfulness of each image: 0 is grey, about 33 moderate, 80 or more high.

    After Hasler & Suesstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        rgb: (B, 3, H, W) in [0, 1], floating point; the result is on the scale of 0 to 255.
        absolute: Use absolute channel differences, as the code of some colorization papers does.
            Hasler and Suesstrunk use signed differences.

    Returns:
        (B,), fp32.
    """
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    if absolute:
        opponents = opponents.abs()
    spread: Tensor = opponents.std(dim=2, correction=0).norm(dim=0)
    distance: Tensor = opponents.mean(dim=2).norm(dim=0)
    return spread + 0.3 * distance
