"""The callbacks of a run, in the order of their calls."""

from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.runs.folder import LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.baselines import BaselineMetrics
from lightning_colorize.training.callbacks.checkpoints import (
    BestCheckpoint,
    KeptCheckpoints,
    LastCheckpoint,
    SmoothedMonitor,
)
from lightning_colorize.training.callbacks.gan_health import GANHealth
from lightning_colorize.training.callbacks.images import ImageGrids, PredictFolder
from lightning_colorize.training.callbacks.result import ResultWriter
from lightning_colorize.training.callbacks.stopping import (
    EarlyStop,
    FinalValidation,
    FiniteTraining,
    GracefulStop,
)
from lightning_colorize.training.callbacks.terminal import Banner, progress_callback
from lightning_colorize.training.callbacks.throughput import Throughput
from lightning_colorize.training.launchers import SharedFolder
from lightning_colorize.training.options import RunOptions

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI


def build_callbacks(cli: "ColorizeCLI", saves: bool, has_logger: bool) -> list[Callback]:
    """Return the callbacks of a run; sets `cli.best` and `cli.stop` if it is saved.

    Lightning calls them in this order, before those of the user, but each `Checkpoint`, here the
    last five, after all others.
    """
    options: RunOptions = cli.config_init.run
    baselines = BaselineMetrics()
    shown = cli.config_init.trainer.enable_progress_bar is not False
    terminal: list[Callback | None] = [
        Banner(),
        baselines,
        LearningRateMonitor() if has_logger else None,
        progress_callback(options.monitor) if shown else None,
    ]
    if not saves:
        return [callback for callback in terminal if callback is not None]
    folder, monitor, mode = cli.folder, options.monitor, monitor_mode(options, cli.model)
    smoothing = options.smoothing if monitor is not None else 1
    best = cli.best = BestCheckpoint(folder, monitor, mode, smoothing > 1)
    last = LastCheckpoint(folder / LAST, options.save_every_n_minutes)
    stop = cli.stop = GracefulStop(last)
    throughput = Throughput()
    result = RunResult.read(folder) if cli.resumed else None
    restart = result is not None and result.ended
    checks_health = options.health != "off" and "discriminator" in cli.model.optimizer_names
    every, kept = options.grid_every_n_epochs, options.keep_every_n_steps
    predict = options.predict_dir
    callbacks = [
        *terminal,
        SharedFolder(folder),
        FiniteTraining(),
        SmoothedMonitor(monitor, smoothing) if monitor and smoothing > 1 else None,
        EarlyStop(best.monitor, mode, options.patience, restart) if best.monitor else None,
        GANHealth(stop=options.health == "stop") if checks_health else None,
        ImageGrids(best, options.grid_images, every) if options.grid_images else None,
        PredictFolder(Path(predict), cli.datamodule.size) if predict is not None else None,
        throughput,
        ResultWriter(folder, baselines, throughput, best, options.test),
        FinalValidation(),
        best,
        KeptCheckpoints(folder, kept) if kept is not None else None,
        last,
        stop,
    ]
    return [callback for callback in callbacks if callback is not None]


def monitor_mode(options: RunOptions, task: ColorizationTask) -> Goal:
    """Return whether the monitored metric is maximized; refuse an unknown one."""
    monitor, names = options.monitor, task.metric_names()
    if monitor is None:
        return "max"  # nothing is compared
    if monitor not in names:
        raise UsageError(
            f"--run.monitor: '{monitor}' is not a metric of validations\n"
            f"accepted: {', '.join(names)}"
        )
    # The loss has no row.
    goals = {f"val/{metric.name}": metric.goal for metric in task.metric_rows}
    mode: Goal | None = options.mode or goals.get(monitor, "min")
    if mode is None:
        raise UsageError(f"--run.mode: null\naccepted: max, min for --run.monitor {monitor}")
    return mode
