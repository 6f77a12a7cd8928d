"""What Lightning is told of the processes that Slurm's `srun` or torchrun started."""

import os
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from lightning_colorize.common.errors import UsageError


def with_slurm(plugins: Any) -> Any:
    """Return the Trainer's plugins, with our terms for a task of Slurm if this process is one.

    Lightning's own would answer SIGUSR1 itself: with another checkpoint (`hpc_ckpt_1.ckpt`), whose
    position is not exact, and a requeue while it is still training.

    Args:
        plugins: As configured: None, one, or a list.

    Raises:
        UsageError: If this is one of several tasks that Slurm has not started.
    """
    # torchrun may have been started by a task; its processes are not Slurm's.
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return plugins
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    if any(isinstance(plugin, ClusterEnvironment) for plugin in given):
        return plugins
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UsageError(
            f"Slurm was told of {tasks} tasks, but not how many a node has: give sbatch --nodes "
            "and --ntasks-per-node rather than --ntasks"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UsageError(
            f"this is to be one of {tasks} tasks, and nobody starts the others: "
            "call srun lightning-colorize fit in the batch script"
        )
    return [*given, SLURMEnvironment(auto_requeue=False)]


def refuse_other_processes(trainer: Trainer) -> None:
    """Refuse to train in fewer or more processes than have been started.

    Lightning would train with those that are there, each a run of its own or all waiting for those
    that nobody starts.

    Raises:
        UsageError: If the numbers differ.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        who, option = "Slurm", "sbatch --nodes={} --ntasks-per-node={}"
    elif isinstance(environment, TorchElasticEnvironment):
        who, option = "torchrun", "torchrun --nnodes={} --nproc-per-node={}"
    else:
        return
    nodes, devices = trainer.num_nodes, trainer.num_devices
    started, wanted = environment.world_size(), nodes * devices
    if started != wanted:
        raise UsageError(
            f"{who} starts {_processes(started)}, but --trainer.num_nodes {nodes} with "
            f"--trainer.devices {devices} makes {_processes(wanted)}: give "
            f"{option.format(nodes, devices)}, or the Trainer the same numbers"
        )


def refuse_restarts_by_one_store() -> None:
    """Refuse what torchrun is to start again by a store that still holds what the first ones said.

    By that store its processes find each other. Started again, each may read the address of one
    that is dead; then all wait, with no end. (pytorch/pytorch#135712, as of PyTorch 2.15.)

    Raises:
        UsageError: If torchrun may start this process again by the same store.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if shared and restarts and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(
            "torchrun --max-restarts may hang after a restart: give it --rdzv-backend c10d and, in "
            "its environment, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
        )


def refuse_sync_batchnorm(trainer: Trainer) -> None:
    """Refuse batch norm over several processes on CPUs, before PyTorch does so in the first step.

    Raises:
        UsageError: If that is what is to be trained.
    """
    if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise UsageError(
            "--trainer.sync_batchnorm: true\naccepted: false on CPUs, where PyTorch has none; "
            "or give the network group norm"
        )


def _processes(count: int) -> str:
    return f"{count} process{'es' * (count != 1)}"
