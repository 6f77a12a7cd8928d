"""How the commands that have no Trainer read their words."""

import argparse
from typing import NoReturn

from lightning_colorize.errors import UsageError

PROGRAM = "lightning-colorize"


class Parser(argparse.ArgumentParser):
    """argparse without the usage before an error."""

    def error(self, message: str) -> NoReturn:
        """Raise it as wrong use."""
        raise UsageError(f"{self.prog.removeprefix(PROGRAM + ' ')}: {message}")
