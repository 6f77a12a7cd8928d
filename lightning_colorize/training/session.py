"""The context of every command with a Trainer: messages, exit codes, closing of loggers."""

import errno
import logging
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pytorch_lightning.trainer.connectors import checkpoint_connector
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.memory import is_out_of_memory
from lightning_colorize.networks import WeightsError
from lightning_colorize.runs.folder import BEST, LAST, LOCK, lock
from lightning_colorize.tasks.checkpoint import read_intact
from lightning_colorize.training.callbacks import RunInterrupted, TrainingDiverged
from lightning_colorize.training.cli import ColorizeCLI
from lightning_colorize.training.loggers import close_loggers
from lightning_colorize.training.messages import explain, explained

_NOISE = (
    r".*The `srun` command is available on your system but is not used.*",
    r".*LightningCLI's args parameter.*",
    r".*does not have many workers.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*Using a .* checkpoint without.*",
    r".*recommended to use `self.log\(.*sync_dist=True\)`.*",
    r".*module\(s\) in eval mode at the start of training.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)


def quiet() -> None:
    """Silence messages of Lightning that the banner repeats, or that need no action."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)


@contextmanager
def session(
    words: list[str],
    program: str,
    resumed: Path | None = None,
    scratch: Path | None = None,
) -> Iterator[ColorizeCLI]:
    """Build the run that a command line describes; turn its end into an exit code.

    Args:
        words: The command line after the command's name.
        program: The command's name in messages.
        resumed: The folder of a run to resume.
        scratch: The folder for work that is not a run.
    """
    locks = ExitStack()
    claimed = []

    def claim(folder: Path) -> None:
        locks.enter_context(lock(folder))
        claimed.append(folder)

    try:
        with explained():
            cli = ColorizeCLI(words, program, resumed, scratch, claim)
    except BaseException:
        locks.close()
        for folder in claimed:
            discard_empty(folder)
        raise
    try:
        with _explained_disk_errors(cli.folder), _closed_loggers(cli):
            yield cli
    except RunInterrupted as error:
        # Rank 0's code is the run's. If another rank exited with an error, Lightning, which started
        # it, would kill rank 0 before it has closed its loggers.
        raise SystemExit(128 + error.signal if cli.trainer.is_global_zero else 0) from None
    except TrainingDiverged:
        if not cli.trainer.is_global_zero:
            raise SystemExit(0) from None  # all processes raise it together
        raise
    except SystemExit as exit_:
        # Lightning exits itself after a second Ctrl-C, or one before training starts.
        if cli.trainer.state.status == TrainerStatus.INTERRUPTED:
            raise SystemExit(128 + signal.SIGINT) from None
        raise exit_
    except (MisconfigurationException, WeightsError) as error:
        # Lightning checks some settings only when it uses them, such as the monitored metric; a
        # resumed run reads a perceptual loss's weights in its first step.
        raise UsageError(explain(error)) from None
    except (UsageError, WorkError, OSError):
        raise
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.")):
            raise WorkError(
                f"torch.compile failed ({first_line(error)}); set --model.compile false and "
                "--data.compile false"
            ) from error
        if cli.trainer.world_size > 1 and _is_about_another_process(error):
            raise WorkError(
                f"another process of the run ended or is unreachable ({first_line(error)}); "
                f"to continue: lightning-colorize resume {cli.folder}"
            ) from None
        if not is_out_of_memory(error):
            if _is_of_restoring(error):
                raise UsageError(
                    f"{cli.resume_from} does not fit the run's settings, or is damaged "
                    f"({' '.join(str(error).split())[:200]}): start another run with fit"
                ) from error
            raise
        size = cli.datamodule.batch_size
        print(
            f"{program}: out of memory at batch size {size}: "
            f"try --data.batch_size {max(1, size // 2)}",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    finally:
        locks.close()


@contextmanager
def _closed_loggers(cli: ColorizeCLI) -> Iterator[None]:
    """Close the run's loggers at the end; W&B shows whether the run failed."""
    failed = True
    try:
        yield
        failed = False
    finally:
        close_loggers(cli.trainer.loggers, failed=failed)


def discard_empty(folder: Path) -> None:
    """Remove the folder of a run that did not start, if it contains only its lock."""
    if {path.name for path in folder.iterdir()} == {LOCK}:
        (folder / LOCK).unlink()
        folder.rmdir()


@contextmanager
def _explained_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the error of a write to a full or read-only run folder into one line.

    Raises:
        WorkError: In place of the error.
    """

    def hook(args: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread, and raises the error again in its next call.
        if not (isinstance(args.exc_value, OSError) and _is_disk_error(args.exc_value, folder)):
            former(args)

    former, threading.excepthook = threading.excepthook, hook
    try:
        yield
    except OSError as error:
        if not _is_disk_error(error, folder):
            raise
        fault = f"{folder} cannot be written to: {error.strerror}"
        if not (folder / LAST).is_file():
            raise WorkError(f"{fault}; there is no checkpoint yet: start over with fit") from None
        try:
            _, checkpoint = read_intact(folder, LAST, BEST)
        except UsageError as damaged:
            raise WorkError(f"{fault}; {damaged}") from None
        raise WorkError(
            f"{fault}; the checkpoint of step {checkpoint['global_step']} is intact: free space, "
            f"then run lightning-colorize resume {folder}"
        ) from None
    finally:
        threading.excepthook = former


def _is_disk_error(error: OSError, folder: Path) -> bool:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return isinstance(error, PermissionError) and str(folder) in str(error.filename)


def _is_about_another_process(error: BaseException) -> bool:
    """Return whether a connection between ranks failed; torch has no exception class for it."""
    text = str(error).lower()
    return "gloo" in text or ("nccl" in text and "remote" in text)


def _is_of_restoring(error: BaseException) -> bool:
    """Return whether Lightning was restoring a checkpoint."""
    return any(
        frame.f_globals["__name__"] == checkpoint_connector.__name__
        and "restore" in frame.f_code.co_name
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
