"""Labels for people: short parameter names, rounded numbers, times."""

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from lightning_colorize.sweeps.space import Parameter
from lightning_colorize.sweeps.spec import Sweep

UNKNOWN = "-"


class Labels:
    """Short names of the parameters that a sweep varies, and of their values.

    Attributes:
        names: The short name of each varied parameter, by dotted name, in the file's order.
    """

    def __init__(self, sweep: Sweep) -> None:
        short = short_names(sweep.parameters)
        self.names = {
            name: short[name]
            for name, parameter in sweep.parameters.items()
            # A range may be too long for len().
            if parameter.values is None or len(parameter.values[:2]) > 1
        }
        self._choices = {name: _choices(sweep.parameters[name]) for name in self.names}

    def value(self, name: str, value: Any) -> str:
        """Return the label of a parameter's value."""
        return self._choices[name].get(_key(value)) or _plain(value)

    def choices(self, name: str) -> list[str]:
        """Return the labels of all values, in the file's order; empty if they are not listed."""
        return list(self._choices[name].values())

    def changes(self, values: dict[str, Any]) -> str:
        """Return what distinguishes a trial from others: `encoder=resnet18, lr=0.001`."""
        return ", ".join(
            f"{short}={self.value(name, values[name])}"
            for name, short in self.names.items()
            if name in values
        )


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return the last part of each dotted name, or as many parts as make it unique."""
    every = list(names)
    return {name: _short(name, every) for name in every}


def format_value(value: float | None) -> str:
    """Return a number to four digits, with trailing zeros, so that columns align."""
    return UNKNOWN if value is None else f"{value:#.4g}".rstrip(".")


def clock(seconds: float | None) -> str:
    """Return a time as `1:20`, or `2:01:20`."""
    if seconds is None:
        return UNKNOWN
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _short(name: str, every: list[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts)):
        tail = ".".join(parts[-count:])
        if sum(f".{other}".endswith(f".{tail}") for other in every) == 1:
            return tail
    return name


def _choices(parameter: Parameter) -> dict[str, str]:
    values = parameter.values
    if not isinstance(values, tuple):
        return {}
    written = [_plain(value) for value in values]
    if len(set(written)) < len(values):
        # Fragments of one name in two folders, or 1 and "1".
        all_texts = all(isinstance(value, str) for value in values)
        written = list(values) if all_texts else [_key(value) for value in values]
    return dict(zip(map(_key, values), written, strict=True))


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _plain(value: Any) -> str:
    match value:
        case str():
            path = PurePosixPath(value)
            return path.stem if path.suffix in (".yaml", ".yml") else value
        case float():
            return f"{value:.4g}"
        case bool() | int() | None:
            return str(value)
    return json.dumps(value)
