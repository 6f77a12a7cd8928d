"""The colorfulness of RGB images."""

import torch
from torch import Tensor


def colorfulness(rgb: Tensor, absolute: bool = False) -> Tensor:
    """Return how colorful each image is: 0 for grey, about 33 moderately, 80 and more very.

    After Hasler & Suesstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        rgb: (B, 3, H, W) in [0, 1], floating point; it is measured on the scale of 0 to 255.
        absolute: Of the absolute differences of red, green and blue, as some code has it that
            colorization papers use. The paper has their signs.

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
