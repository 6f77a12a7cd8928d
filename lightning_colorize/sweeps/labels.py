"""Short names of what a sweep varies."""

import json
from pathlib import PurePosixPath
from typing import Any

from lightning_colorize.common.text import short_names
from lightning_colorize.sweeps.spec import Sweep


class Labels:
    """Short names of the parameters that a sweep varies, and of their values."""

    def __init__(self, sweep: Sweep) -> None:
        short = short_names(sweep.parameters)
        varied = [name for name, each in sweep.parameters.items() if each.is_varied]
        # The short names by dotted name, in the file's order.
        self.names = {name: short[name] for name in varied}

    @staticmethod
    def value(value: Any) -> str:
        """Return the label of a parameter's value; of a fragment, its name."""
        if isinstance(value, float):
            return f"{value:.4g}"
        text = value if isinstance(value, str) else json.dumps(value)
        return PurePosixPath(text).stem if text.endswith((".yaml", ".yml")) else text

    def changes(self, values: dict[str, Any]) -> str:
        """Return the varied parameters of a trial: `encoder=resnet18, lr=0.001`."""
        given = {short: values[name] for name, short in self.names.items() if name in values}
        return ", ".join(f"{short}={self.value(value)}" for short, value in given.items())
