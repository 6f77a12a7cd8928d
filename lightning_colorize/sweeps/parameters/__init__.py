"""The distributions of a sweep file: what a trial's parameters are drawn from."""

from lightning_colorize.sweeps.parameters.base import Parameter
from lightning_colorize.sweeps.parameters.continuous import (
    LogNormal,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
)
from lightning_colorize.sweeps.parameters.discrete import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    IntUniform,
)
from lightning_colorize.sweeps.parameters.reading import read_parameters

__all__ = [
    "Categorical",
    "CategoricalWithProbabilities",
    "Constant",
    "IntUniform",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Parameter",
    "Quantized",
    "Uniform",
    "read_parameters",
]
