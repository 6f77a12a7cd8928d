"""What a user can choose about the loggers."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class LoggerOptions:
    """Which loggers a run has, and how its Weights & Biases run is filed.

    Args:
        wandb: `auto`: online when logged in and the server answers within 5 s, else offline;
            WANDB_MODE decides where it is set. `online`: do not check whether the server answers.
            `offline`: to disk, for `wandb sync`. `disabled`: no W&B run.
        project: W&B project.
        entity: W&B user or team; none: the account's default.
        group: W&B group, for runs that belong together; by default the sweep's name.
        tags: W&B tags.
        wandb_id: W&B run to write to; none: a new one, kept in the run folder and found there
            again by `resume`.
        tensorboard: Write TensorBoard events into the run folder.
        csv: Write metrics.csv into the run folder.
    """

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "lightning_colorize"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    wandb_id: str | None = None
    tensorboard: bool = True
    csv: bool = True
