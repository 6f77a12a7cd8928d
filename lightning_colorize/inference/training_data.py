"""The training data of a checkpoint, from the configuration of its run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_colorize.common.class_paths import build
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.sources import Root, Source, default_source, parse_root
from lightning_colorize.models.load import trust_of
from lightning_colorize.runs.folder import CONFIG, read_config, run_of


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        config: The run's configuration file.
        root: The folder or URL; None if none was given.
        spec: Class path and arguments of the source; None for the default source.
    """

    config: Path
    root: Root | None
    spec: dict[str, Any] | None

    def is_of(self, folder: Path) -> bool:
        """Return whether the data was read from this folder."""
        return isinstance(self.root, Path) and self.root.resolve() == folder.resolve()

    def source(self, allow: Sequence[str] = ()) -> Source:
        """Build the source, which splits the images as in training.

        Raises:
            UsageError: If the configuration names an untrusted class, or does not fit the classes.
        """
        try:
            trust = trust_of(self.config.parent, allow)
            source = None if self.spec is None else build(self.spec, Source, trust)
        except UsageError as error:
            raise UsageError(f"{self.config}: {error}") from None
        except (ImportError, TypeError) as error:
            raise UsageError(
                f"{self.config} does not fit this version of lightning-colorize: {error}"
            ) from error
        return source or default_source(self.root)


def training_data(checkpoint: Path) -> TrainingData | None:
    """Return the data of a checkpoint's run; None if the checkpoint is not in a run folder.

    Raises:
        UsageError: If the run's configuration cannot be read.
    """
    run = run_of(checkpoint.resolve())
    config = {} if run is None else read_config(run)
    if run is None or "data" not in config:
        return None
    root = config["data"].get("root")
    parsed = None if root is None else parse_root(root)
    return TrainingData(run / CONFIG, parsed, config["data"].get("source"))
