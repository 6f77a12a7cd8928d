"""Checks that `fit` accepts a command line, in seconds and without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI


def check_words(lines: Sequence[list[str]], prefix: str = "") -> list[Any]:
    """Return the configurations of command lines, parsed as `fit` does; nothing is built."""
    # Importing Lightning takes seconds; callers check first what needs no import.
    from lightning_colorize.data.augmentation import AugmentationOptions
    from lightning_colorize.data.module import ColorizationDataModule
    from lightning_colorize.training.cli import ParsedCLI
    from lightning_colorize.training.session import quiet, usage_errors

    quiet()
    with usage_errors(prefix):
        parser = ParsedCLI(lines[0], "lightning-colorize fit").parser
        configs = [parser.parse_args(words) for words in lines]
        for config in configs:
            _require_folder(config.data)
            options = config.data.as_dict()
            # The source may be a class of the user's, which is built once.
            options |= {
                "source": None,
                "augmentation": AugmentationOptions(**options["augmentation"]),
            }
            ColorizationDataModule(**options)
    return configs


def name_run(words: list[str]) -> "ColorizeCLI":
    """Return a run as `fit` would start it, with its folder; nothing is built.

    Raises:
        RunEnded: If the run has already ended.
    """
    from lightning_colorize.training.cli import NamedCLI
    from lightning_colorize.training.session import quiet, usage_errors

    quiet()
    with usage_errors():
        cli = NamedCLI(words, "lightning-colorize fit")
        _require_folder(cli.config.data)
    return cli


def _require_folder(data: Any) -> None:
    """Refuse a missing image folder; other sources also read files, or download."""
    root = data.root
    if data.source or root is None or "://" in root or Path(root).expanduser().is_dir():
        return
    raise UsageError(f"--data.root: {root}\naccepted: an image folder")
