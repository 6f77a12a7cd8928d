"""Which way of a metric is better."""

from typing import Literal

Goal = Literal["minimize", "maximize"]


def cost(value: float, goal: Goal) -> float:
    """Return a metric's value as one of which less is better; of that, the value again."""
    return -value if goal == "maximize" else value
