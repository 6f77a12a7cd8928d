"""Whether `fit` will take some words, found out in seconds and without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI


def check_words(lines: Sequence[list[str]], prefix: str = "") -> None:
    """Read command lines as `fit` does, and go no further.

    Args:
        lines: The words after `fit`, of each.
        prefix: What messages begin with.

    Raises:
        UsageError: If `fit` would refuse one.
    """
    # Importing Lightning takes seconds; what can be refused without it is refused before.
    from lightning_colorize.training.cli import ParsedCLI
    from lightning_colorize.training.messages import explain, is_bad_input
    from lightning_colorize.training.session import quiet

    quiet()
    words = lines[0]
    try:
        parser = ParsedCLI(words, "lightning-colorize fit").parser
        for words in lines:
            _refuse_root(parser.parse_args(words).data.root)
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise UsageError(f"{prefix}{explain(error, words)}") from None


def name_run(words: list[str]) -> "ColorizeCLI":
    """Return a run as `fit` would begin it, with its folder, of which nothing is built.

    Args:
        words: The command line after `fit`.

    Raises:
        UsageError: If `fit` would refuse it.
        RunEnded: If the run has ended already.
    """
    from lightning_colorize.training.cli import NamedCLI
    from lightning_colorize.training.messages import explain, is_bad_input
    from lightning_colorize.training.session import quiet

    quiet()
    try:
        cli = NamedCLI(words, "lightning-colorize fit")
        _refuse_root(cli.config.data.root)
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise UsageError(explain(error, words)) from None
    return cli


def _refuse_root(root: str | None) -> None:
    if root is not None and "://" not in root and not Path(root).expanduser().is_dir():
        raise UsageError(f"--data.root: {root}\naccepted: a folder of photographs")
