"""The one place where photographs become (L, ab): on the device, in fp32, with autocast off.

The data module calls it after the batch has reached the device; so does everything that has
pictures but no Trainer (baselines, evaluation, colouring).
"""

from lightning_colorize.color import ColorBatch, RawBatch, full_precision, to_lab
from lightning_colorize.data.augmentation import Augmentation


def to_color_batch(raw: RawBatch, augmentation: Augmentation | None = None) -> ColorBatch:
    """Convert a loader's batch.

    Args:
        raw: Photographs, (B, 3, H, W), uint8.
        augmentation: What is done to training pictures before (and to L while) converting.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, fp32; at the augmentation's
        size where there is one.
    """
    if augmentation is None:
        L, ab = to_lab(raw.rgb)
        return ColorBatch(L, ab, raw.names)
    with full_precision(raw.rgb):
        rgb = augmentation.geometry(raw.rgb)
        L, ab = to_lab(rgb)
        return ColorBatch(augmentation.grey(rgb, L), ab, raw.names)
