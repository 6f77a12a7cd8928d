"""Numbers of `data.*` that make no sense, refused before anything is read."""

from collections.abc import Sequence

from lightning_colorize.common.errors import UsageError


def require(name: str, value: object, accepted: str, sound: bool) -> None:
    """Refuse a setting.

    Args:
        name: Its key below `data`.
        value: What was given.
        accepted: What is accepted, in words.
        sound: Whether it is.

    Raises:
        UsageError: If it is not.
    """
    if not sound:
        shown = list(value) if isinstance(value, tuple) else value
        raise UsageError(f"--data.{name} is {shown}: it must be {accepted}")


def require_least(least: int, **values: int | None) -> None:
    """Refuse whole numbers below `least`; None stands for a default."""
    for name, value in values.items():
        require(name, value, f"at least {least}", value is None or value >= least)


def require_share(**values: float) -> None:
    """Refuse what is no share or probability."""
    for name, value in values.items():
        require(name, value, "from 0 to 1", 0 <= value <= 1)


def require_range(name: str, value: Sequence[float], most: float = float("inf")) -> None:
    """Refuse a range that does not begin above 0, is reversed or ends above `most`."""
    ends = "" if most == float("inf") else f" and at most {most:g}"
    accepted = f"[from, to], above 0{ends}, the smaller number first"
    require(name, value, accepted, 0 < value[0] <= value[1] <= most and value[1] < float("inf"))
