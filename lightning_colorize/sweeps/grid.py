"""All combinations of a grid sweep, numbered in the order in which W&B goes through them."""

import math
from typing import TYPE_CHECKING, Any

from lightning_colorize.sweeps.parameters import (
    Categorical,
    Constant,
    IntUniform,
    Parameter,
    Quantized,
    Uniform,
)

if TYPE_CHECKING:
    from lightning_colorize.sweeps.section import Section
    from lightning_colorize.sweeps.sweep_file import Sweep

_MOST_VALUES = 10_000


def listed(parameter: Parameter, section: "Section") -> Categorical | Constant:
    """Return a parameter with its values listed one by one, as a grid needs it.

    Args:
        parameter: `q_uniform` gives min, min + q and so on below max, as it does in W&B.
        section: Its place, for messages.

    Raises:
        UsageError: If it has a continuum of values, probabilities, or far too many values.
    """
    match parameter:
        case Constant() | Categorical():
            return parameter
        case IntUniform(low, high):
            _require_few(high - low + 1, section)
            return Categorical(tuple(range(low, high + 1)))
        case Quantized(Uniform(low, high), q):
            import numpy as np

            _require_few(math.ceil((high - low) / q), section)
            return Categorical(tuple(np.arange(low, high, q).tolist()))
    raise section.error(
        "",
        "method grid goes through listed values; write `values: [...]` without probabilities, "
        "or method: random",
    )


def size(sweep: "Sweep") -> int:
    """Return how many combinations a grid sweep has."""
    return math.prod(len(_values(sweep, name)) for name in sweep.parameters)


def combination(sweep: "Sweep", number: int) -> dict[str, Any]:
    """Return the values of one trial of a grid sweep, constants included.

    Args:
        sweep: Its method is grid.
        number: From 0; the last parameter in alphabetical order changes fastest, as in W&B.
    """
    chosen = {}
    for name in sorted(sweep.parameters, reverse=True):
        values = _values(sweep, name)
        number, index = divmod(number, len(values))
        chosen[name] = values[index]
    return {name: chosen[name] for name in sweep.parameters}


def _values(sweep: "Sweep", name: str) -> tuple[Any, ...]:
    values = sweep.parameters[name].values
    assert values is not None  # parse_sweep lists those of a grid
    return tuple(values)


def _require_few(count: int, section: "Section") -> None:
    if count > _MOST_VALUES:
        raise section.error(
            "", f"a grid of {count} values; write fewer as `values: [...]`, or method: random"
        )
