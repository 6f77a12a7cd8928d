"""Checks that `fit` accepts a command line, in seconds and without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI


def check_words(lines: Sequence[list[str]], prefix: str = "") -> set[str]:
    """Parse command lines as `fit` does, without building anything.

    Returns:
        The names of the models' own metrics.

    Raises:
        UsageError: If `fit` would refuse one.
    """
    # Importing Lightning takes seconds; callers check first what needs no import.
    from lightning_colorize.training.cli import ParsedCLI
    from lightning_colorize.training.messages import explained
    from lightning_colorize.training.session import quiet

    quiet()
    with explained(lines[0], prefix):
        parser = ParsedCLI(lines[0], "lightning-colorize fit").parser
    own: set[str] = set()
    for words in lines:
        with explained(words, prefix):
            config = parser.parse_args(words)
            _require_root(config.data.root)
            own |= set(config.model.init_args.get("metrics") or {})
    return own


def name_run(words: list[str]) -> "ColorizeCLI":
    """Return a run as `fit` would start it, with its folder; nothing is built.

    Raises:
        UsageError: If `fit` would refuse it.
        RunEnded: If the run has already ended.
    """
    from lightning_colorize.training.cli import NamedCLI
    from lightning_colorize.training.messages import explained
    from lightning_colorize.training.session import quiet

    quiet()
    with explained(words):
        cli = NamedCLI(words, "lightning-colorize fit")
        _require_root(cli.config.data.root)
    return cli


def _require_root(root: str | None) -> None:
    if root is not None and "://" not in root and not Path(root).expanduser().is_dir():
        raise UsageError(f"--data.root: {root}\naccepted: an image folder")
