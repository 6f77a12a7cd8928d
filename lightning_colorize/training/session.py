"""What surrounds every command that has a Trainer: messages, exit codes, the end of loggers."""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.compiling import first_line, is_compiler_error
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.runs.folder import LOCK, lock
from lightning_colorize.training.callbacks import RunInterrupted
from lightning_colorize.training.cli import ColorizeCLI
from lightning_colorize.training.disk import one_line_if_full
from lightning_colorize.training.loggers import close_loggers
from lightning_colorize.training.messages import explain, is_bad_input

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
    """Silence what Lightning says that the banner says better, or that nobody can act on."""
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
    """Give the run that the words describe; turn its end into an exit code.

    Args:
        words: The command line after the command's name.
        program: What messages call the command.
        resumed: The folder of a run that goes on.
        scratch: The folder for work that is no run.
    """
    locks = ExitStack()
    claimed = []

    def claim(folder: Path) -> None:
        locks.enter_context(lock(folder))
        claimed.append(folder)

    try:
        cli = ColorizeCLI(words, program, resumed, scratch, claim)
    except Exception as error:
        locks.close()
        for folder in claimed:
            discard_empty(folder)
        if not is_bad_input(error):
            raise
        raise UsageError(explain(error, words)) from None
    try:
        with one_line_if_full(cli.folder), _closed_loggers(cli):
            yield cli
    except RunInterrupted as error:
        # The first process's code is the run's. Lightning, where it started the others, would kill
        # the first one in the midst of its work if another ended with a code of its own.
        raise SystemExit(128 + error.signal if cli.trainer.is_global_zero else 0) from None
    except SystemExit as exit_:
        # Lightning's own end after a second Ctrl-C, or one before training began.
        if cli.trainer.state.status == TrainerStatus.INTERRUPTED:
            raise SystemExit(128 + signal.SIGINT) from None
        raise exit_
    except MisconfigurationException as error:
        # What Lightning can only check when it meets it, such as a metric to monitor.
        raise UsageError(explain(error, words)) from None
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if is_compiler_error(error):
            raise WorkError(
                f"torch.compile failed ({first_line(error)}); write --model.compile false and "
                "--data.compile false"
            ) from error
        if cli.trainer.world_size > 1 and _is_about_another_process(error):
            raise WorkError(
                f"another process of the run has ended or cannot be reached ({first_line(error)}); "
                f"when that is mended, go on with: lightning-colorize resume {cli.folder}"
            ) from None
        if not _is_out_of_memory(error):
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
    """Close the run's loggers at the end; W&B shows it as failed if it did not end well."""
    failed = True
    try:
        yield
        failed = False
    finally:
        close_loggers(cli.trainer.loggers, failed=failed)


def discard_empty(folder: Path) -> None:
    """Remove the folder of a run that did not begin, if nothing but its lock is in it."""
    if {path.name for path in folder.iterdir()} == {LOCK}:
        (folder / LOCK).unlink()
        folder.rmdir()


def _is_about_another_process(error: BaseException) -> bool:
    """Return whether the processes' connection failed, of which torch has no class of its own."""
    text = str(error).lower()
    return "gloo" in text or ("nccl" in text and "remote" in text)


def _is_out_of_memory(error: BaseException) -> bool:
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error).lower() for text in texts
    )
