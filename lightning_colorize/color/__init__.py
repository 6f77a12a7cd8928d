"""LAB conversion in fp32, LAB scaling, sRGB gamut mapping, colorfulness and the batch types."""

from lightning_colorize.color.batch import NO_CONDITION, ColorBatch, Condition, RawBatch
from lightning_colorize.color.bins import AbBins
from lightning_colorize.color.colorfulness import colorfulness
from lightning_colorize.color.gamut import fit_gamut, to_rgb_in_gamut
from lightning_colorize.color.lab import (
    AB_SCALE,
    WHITE,
    LabScaling,
    to_eight_bits,
    to_grey,
    to_lab,
    to_lightness,
    to_rgb,
    to_unit,
)
from lightning_colorize.color.precision import full_precision, set_tf32

__all__ = [
    "AB_SCALE",
    "NO_CONDITION",
    "WHITE",
    "AbBins",
    "ColorBatch",
    "Condition",
    "LabScaling",
    "RawBatch",
    "colorfulness",
    "fit_gamut",
    "full_precision",
    "set_tf32",
    "to_eight_bits",
    "to_grey",
    "to_lab",
    "to_lightness",
    "to_rgb",
    "to_rgb_in_gamut",
    "to_unit",
]
