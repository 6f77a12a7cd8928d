"""The processes of a run, and checks of processes started by Slurm's `srun` or torchrun."""

import os
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.strategies import DDPStrategy

from lightning_colorize.common.errors import UsageError, require_option
from lightning_colorize.runs.folder import LOCK


def require_meaning(config: Any) -> None:
    """Refuse numbers among a Trainer's arguments that Lightning accepts and that mean nothing."""
    least_values = {"gradient_clip_val": 0, "log_every_n_steps": 1}
    least_values |= {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1}
    for name, least in least_values.items():
        valid = config[name] is None or config[name] >= least
        require_option(f"trainer.{name}", config[name], f"at least {least}", valid)
    interval = config.val_check_interval  # also a duration
    valid = not isinstance(interval, int | float) or interval > 0
    require_option("trainer.val_check_interval", interval, "above 0", valid)


def trains_in_parallel(config: Any) -> bool:
    """Return whether a Trainer with these arguments chooses DDP, because the strategy is `auto`."""
    try:
        trainer = Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            plugins=config.plugins,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
    except TypeError as error:  # the devices; no callback or logger of the user is called here
        raise UsageError(" ".join(str(error).split())) from error
    return config.strategy == "auto" and isinstance(trainer.strategy, DDPStrategy)


def with_slurm(plugins: list[Any]) -> list[Any]:
    """Return the Trainer's plugins, with Lightning's requeueing disabled in a Slurm task.

    On SIGUSR1 Lightning would write another checkpoint (`hpc_ckpt_1.ckpt`), which does not resume
    exactly, and requeue the job while it is still training.

    Raises:
        UsageError: If this is one of several tasks that Slurm did not start.
    """
    # A task may have started torchrun, whose processes are not Slurm tasks.
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return plugins
    if any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        return plugins
    try:
        environment = SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # --ntasks instead of --ntasks-per-node
        raise UsageError(str(error)) from None
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UsageError(
            f"this is one of {tasks} tasks, and no process starts the others: "
            "call srun lightning-colorize fit in the batch script"
        )
    return [*plugins, environment]


def refuse_other_processes(trainer: Trainer) -> None:
    """Refuse to train in fewer or more processes than were started.

    Lightning would start separate runs, or wait forever for the missing processes: its own check,
    `validate_settings`, is only called where it starts processes itself.
    """
    if TorchElasticEnvironment.detect():
        started = TorchElasticEnvironment().world_size()
    elif SLURMEnvironment.detect():
        started = SLURMEnvironment().world_size()
    else:
        return
    nodes, devices = trainer.num_nodes, trainer.num_devices
    if started != nodes * devices:
        raise UsageError(
            f"processes started: {started}, but --trainer.num_nodes {nodes} with --trainer.devices "
            f"{devices} needs {nodes * devices}: give the Trainer and the launcher (torchrun "
            "--nnodes --nproc-per-node, sbatch --nodes --ntasks-per-node) the same numbers"
        )


def refuse_restarts_by_one_store() -> None:
    """Refuse restarts by torchrun that reuse the store of the first start.

    Restarted processes may read the address of a dead process from it and wait forever
    (pytorch/pytorch#135712, still open in PyTorch 2.15).
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if shared and restarts and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(
            "torchrun --max-restarts may hang after a restart: give it --rdzv-backend c10d and, in "
            "its environment, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
        )


class SharedFolder(Callback):
    """Refuses to train on several nodes that do not share the run folder.

    Rank 0 writes the checkpoints, and all ranks read them. A node without them would silently
    resume from different weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare, before Lightning loads a checkpoint."""
        if trainer.num_nodes == 1 or stage != "fit":
            return
        if not trainer.strategy.reduce_boolean_decision((self.folder / LOCK).is_file()):
            raise UsageError(
                f"not all nodes see {self.folder}: --run.root must be a shared folder with the "
                "same path on all nodes"
            )
