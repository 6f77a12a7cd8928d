"""What stands at the axes of charts, where Plotly's own choice is a bad one."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

_FEWEST_TICKS, _MOST_TICKS = 3, 5
# Over more, Plotly leaves halves out by itself.
_COUNTED_BY_ONE = 9


def whole_numbers(numbers: Iterable[int]) -> dict[str, Any]:
    """Return an axis of whole numbers: there is no trial 0.5.

    Args:
        numbers: What is drawn; at least one.
    """
    known = set(numbers)
    return {"dtick": 1} if max(known) - min(known) < _COUNTED_BY_ONE else {}


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis of few ticks, each with all its digits.

    Plotly writes 0.001 and, beside it, the digits 2 to 9, which overlap in a small chart.

    Args:
        values: What is drawn, above 0.
    """
    low, high = min(values), max(values)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        every = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    else:
        ticks = [low, math.sqrt(low * high), high]
    ticks = ticks[:: math.ceil(len(ticks) / _MOST_TICKS)]
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [f"{tick:.2g}" for tick in ticks]}
