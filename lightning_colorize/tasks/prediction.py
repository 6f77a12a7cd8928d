"""One photograph of any size through a network that was trained on small squares."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, full_precision, to_lab, to_rgb
from lightning_colorize.tasks.base import ColorizationTask


@torch.inference_mode()
def colorize_picture(task: ColorizationTask, rgb: Tensor, size: int) -> Tensor:
    """Colour one photograph; its lightness stays as it is, at full resolution.

    Args:
        task: In evaluation mode, on the device that is to work.
        rgb: (3, H, W), uint8; colour is taken away by the same conversion as in training.
        size: Pixels of the short side at which the network sees the picture.

    Returns:
        (3, H, W), uint8, on the CPU.
    """
    L, _ = to_lab(rgb.unsqueeze(0).to(task.device))
    height, width = L.shape[-2:]
    scale = size / min(height, width)
    small = (max(size, round(height * scale)), max(size, round(width * scale)))
    with full_precision(L):
        seen = F.interpolate(L, small, mode="bilinear", antialias=True, align_corners=False)
        ab = F.interpolate(task(seen), (height, width), mode="bilinear", align_corners=False)
    colored = to_rgb(L, fit_gamut(L, ab))[0]
    return (colored * 255).round().to(torch.uint8).cpu()
