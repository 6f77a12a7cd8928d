"""Train, sweep, compare and use models that color black-and-white photographs.

A photograph travels one way through the package, and the folders stand in that order::

    files on disk -> uint8 RGB on the device -> (L, ab) -> network -> ab_hat -> RGB -> metrics, logs
         data/            data/, color/         color/    networks/  losses/   color/  metrics/, ...

Importing the package imports nothing heavy: take what you need from its folders.
"""

__version__ = "0.1.0"
