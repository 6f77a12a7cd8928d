"""The context of every command with a Trainer: messages, exit codes, checks of its words."""

import errno
import logging
import os
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    LightningEnvironment,
)
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError, WorkError, first_line, one_line
from lightning_colorize.common.memory import is_out_of_memory
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.models.checkpoint import prepare_for_state
from lightning_colorize.networks import WeightsError
from lightning_colorize.runs.folder import CONFIG, LOCK, TENSORBOARD, WANDB, lock
from lightning_colorize.training.callbacks.build import monitor_mode
from lightning_colorize.training.callbacks.stopping import RunInterrupted, TrainingDiverged
from lightning_colorize.training.cli import ColorizeCLI, NamedCLI, ParsedCLI
from lightning_colorize.training.launchers import require_meaning
from lightning_colorize.training.loggers.build import close_loggers

_NOISE = (
    r".*The `srun` command is available on your system but is not used.*",
    r".*LightningCLI's args parameter.*",
    r".*does not have many workers.*",
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*Using a .* checkpoint without.*",
    r".*recommended to use `self.log\(.*sync_dist=True\)`.*",
    r".*is smaller than the logging interval.*",
    r".*module\(s\) in eval mode at the start of training.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)
# Read by Lightning and jsonargparse only for arguments that a command line lacks.
_IGNORED = re.compile(r"PL_(TRAINER_|\w+__)")


def quiet() -> None:
    """Silence messages of Lightning that the banner repeats, or that need no action."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Says which rank died before it kills the others.
    name = "lightning_fabric.strategies.launchers.subprocess_script"
    logging.getLogger(name).setLevel(logging.INFO)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)


@contextmanager
def session(words: list[str], program: str, resumed: Path | None = None) -> Iterator[ColorizeCLI]:
    """Build the run that a command line describes; turn its end into an exit code.

    `words` follow the command's name, `program`. `resumed` is the folder of a run to resume.
    """
    quiet()
    if (ignored := sorted(filter(_IGNORED.match, os.environ))) and is_first_process():
        print(f"ignored: {', '.join(ignored)}; give --trainer.KEY VALUE instead", file=sys.stderr)
    with ExitStack() as locks:

        def claim(folder: Path) -> None:
            locks.enter_context(lock(folder))
            locks.callback(_remove_unused, folder)

        with usage_errors():
            cli = ColorizeCLI(words, program, resumed, claim)
        with _exit_codes(cli), ExitStack() as closing:
            # W&B shows whether the run failed.
            closing.push(lambda kind, *_: close_loggers(cli.trainer.loggers, failed=bool(kind)))
            yield cli


@contextmanager
def _exit_codes(cli: ColorizeCLI) -> Iterator[None]:
    """Turn the end of a run into an exit code or a one-line error."""
    try:
        yield
    except RunInterrupted as error:
        # Rank 0's code is the run's. If another rank exited with an error, Lightning, which started
        # it, would kill rank 0 before it has closed its loggers.
        raise SystemExit(128 + error.signal if cli.trainer.is_global_zero else 0) from None
    except TrainingDiverged:
        if not cli.trainer.is_global_zero:
            raise SystemExit(0) from None  # all processes raise it together
        raise
    except SystemExit:
        # Lightning exits itself after a second Ctrl-C, or one before training starts.
        if cli.trainer.state.status == TrainerStatus.INTERRUPTED:
            raise SystemExit(128 + signal.SIGINT) from None
        raise
    except Exception as error:
        if (explanation := _explanation(error, cli)) is None:
            raise
        raise explanation from error


def _remove_unused(folder: Path) -> None:
    """Remove what a run that never began has written; its list of unreadable images stays."""
    if not (folder / CONFIG).exists():
        for name in (TENSORBOARD, WANDB):
            shutil.rmtree(folder / name, ignore_errors=True)
    if [path.name for path in folder.glob("*")] == [LOCK]:
        (folder / LOCK).unlink()
        folder.rmdir()


def _explanation(error: Exception, cli: ColorizeCLI) -> Exception | None:
    """Return the one-line error that replaces an error; None if it stays, as of a bug."""
    # Without `stop`, nothing is saved (`fast_dev_run`).
    began = cli.stop.began if hasattr(cli, "stop") else cli.trainer.global_step > 0
    if isinstance(error, (UsageError, WorkError)):
        return WorkError(str(error)) if began else None
    if isinstance(error, (MisconfigurationException, WeightsError)):
        # Lightning checks some settings only when it uses them; a resumed run reads a perceptual
        # loss's weights in its first step.
        return UsageError(one_line(error))
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        if not full and str(cli.folder) not in str(error.filename):
            return None
        return WorkError(
            f"{cli.folder} cannot be written to: {error.strerror}; then run {COMMAND} resume "
            f"{cli.folder}, or start over if it has no checkpoint yet"
        )
    # gloo raises mere RuntimeErrors.
    is_lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
    if cli.trainer.world_size > 1 and is_lost:
        return WorkError(
            f"another process of the run ended or is unreachable ({first_line(error)}); "
            f"to continue: {COMMAND} resume {cli.folder}"
        )
    if is_out_of_memory(error):
        size = cli.datamodule.batch_size
        return WorkError(
            f"out of memory at batch size {size}: try --data.batch_size {max(1, size // 2)}"
        )
    from torch._dynamo.exc import TorchDynamoException

    if isinstance(error, TorchDynamoException):
        return WorkError(
            f"torch.compile failed ({first_line(error)}); set --model.compile false and "
            "--data.compile false"
        )
    if cli.resume_from is not None and not began:
        # What a checkpoint holds makes Lightning raise nearly any class.
        return UsageError(
            f"{cli.resume_from} does not fit the run's settings, or is damaged ({one_line(error)}):"
            " start another run with fit"
        )
    if isinstance(error, ValueError) and not began:  # of an optimizer, a schedule or the Trainer
        return UsageError(one_line(error))
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    by_lightning = frame.f_globals["__name__"].startswith("pytorch_lightning.")
    if by_lightning and isinstance(error, (ImportError, RuntimeError)):  # of a stock callback
        return (WorkError if began else UsageError)(one_line(error))
    return None


@contextmanager
def usage_errors(prefix: str = "") -> Iterator[None]:
    """Turn the errors of jsonargparse, Lightning and constructors into a UsageError.

    Other errors of constructors, such as a TypeError, are bugs and keep their traceback.
    """
    try:
        yield
    except (ArgumentError, MisconfigurationException, ValueError) as error:
        cause = _cause(error)
        if isinstance(cause, UsageError):
            raise UsageError(f"{prefix}{cause}") from None
        if not isinstance(cause, (ArgumentError, MisconfigurationException, ValueError)):
            raise
        place = f"{first_line(error)} " if str(cause).startswith("Option ") else ""
        raise UsageError(f"{prefix}{place}{one_line(cause)}") from None


def _cause(error: BaseException) -> BaseException:
    """Return what a parser or a constructor raised.

    jsonargparse wraps an error once for each enclosing class; the second ArgumentError from outside
    names the wrong argument of a task.
    """
    if isinstance(error, ArgumentError):
        chain: list[BaseException] = [error]
        while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(inner)
        return [each for each in chain if isinstance(each, ArgumentError)][:2][-1]
    while not isinstance(error, UsageError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def check_words(lines: Sequence[list[str]], prefix: str = "", here: bool = True) -> list[Any]:
    """Return the configurations of command lines, parsed and checked as `fit` does.

    Each distinct model, with its optimizers, and each Trainer is built once; the devices are
    checked if the lines run `here`.
    """
    quiet()
    with usage_errors(prefix):
        parser = ParsedCLI(lines[0], "lightning-colorize fit").parser
        configs = [parser.parse_args(words) for words in lines]
        _check_built(parser, configs, here)
    return configs


def _check_built(parser: Any, configs: Sequence[Any], here: bool) -> None:
    """Build what the configurations describe, without weights, data, loggers or a run folder."""
    built: dict[str, Any] = {}

    def build(name: str, part: Any) -> Any:
        key = f"{name} {part}"
        if key not in built:
            built[key] = parser.instantiate(Namespace({name: part}))[name]  # type: ignore[no-untyped-call]
            if name == "model":
                built[key].configure_optimizers()
            if name == "trainer":
                # A trial is no task of this process's launcher.
                Trainer(**{**built[key], "plugins": LightningEnvironment()})
        return built[key]

    for config in configs:
        _require_folder(config.data)
        data = config.data.clone()
        data.source = None  # it may be a class of the user's, which is built once
        build("data", data)
        build("run", config.run)
        trainer = config.trainer.clone()
        trainer.logger, trainer.precision = False, trainer.precision or "32-true"
        if not here:
            trainer.accelerator, trainer.devices = "cpu", 1
        require_meaning(build("trainer", trainer))
        model = config.model.clone()
        prepare_for_state(model.get("init_args", {}))
        try:
            with torch.device("meta"):
                task = build("model", model)
            task.check(trainer, config.data.size)
            monitor_mode(config.run, task)
        except (RuntimeError, ValueError) as error:
            # A class that reads the values of its tensors can only be built by `fit`.
            if not isinstance(_cause(error), RuntimeError):
                raise


def name_run(words: list[str]) -> ColorizeCLI:
    """Return a run as `fit` would start it, with its folder; nothing is built.

    Raises:
        RunEnded: If the run has already ended.
    """
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
