"""Train, sweep, compare and use models that color black-and-white photographs.

A photograph travels one way through the package, and the folders stand in that order::

    files on disk -> uint8 RGB on the device -> (L, ab) -> network -> ab_hat -> RGB -> metrics, logs
         data/            data/, color/         color/    networks/  losses/   color/  metrics/, ...

Importing the package imports nothing heavy: take what you need from its folders. The one name here
is the trained model::

    from lightning_colorize import Colorizer

    Colorizer.from_pretrained().colorize("old.jpg").save("new.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_colorize.inference import Colorizer

__version__ = "0.1.0"
__all__ = ["Colorizer", "__version__"]


def __getattr__(name: str) -> Any:
    # Later: it imports torch, which the commands import only to work.
    if name == "Colorizer":
        return import_module("lightning_colorize.inference").Colorizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
