"""Colorizing image files on several devices in parallel."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.processes import exit_with_parent, quiet_decoders
from lightning_colorize.inference.colorize import Options, Record, colorize_files
from lightning_colorize.inference.colorizer import PRECISIONS
from lightning_colorize.inference.jobs import Job
from lightning_colorize.models.base import Model
from lightning_colorize.models.load import choose_device, load_model


@dataclass(frozen=True)
class ModelFile:
    """A model file with the options for loading it in another process."""

    path: Path  # A checkpoint, or a run folder.
    allow: Sequence[str]  # Classes that the checkpoint may import.
    settings: dict[str, Any]  # Settings by name; values may be text.
    precision: str = "32-true"
    size: int | None = None  # Short side of the input in pixels; None for the model's own.

    def load(self, device: torch.device | str) -> Model:
        """Load the model to a device."""
        model = load_model(self.path, self.allow, device)
        model.settings = model.settings.updated(self.settings)
        model.set_precision(PRECISIONS[self.precision])
        model.size = self.size or model.size
        return model


def device_names(device: str, count: int) -> list[str]:
    """Return the names of several devices of the same type."""
    if choose_device(device).type == "cpu":
        return ["cpu"] * count
    if count > torch.cuda.device_count():
        raise UsageError(f"--devices {count}: torch finds {torch.cuda.device_count()} CUDA devices")
    return [f"cuda:{index}" for index in range(count)]


def colorize_on_devices(
    model: ModelFile,
    devices: Sequence[str],
    jobs: Sequence[Job],
    options: Options,
    manifest: Path | None = None,
    others: Sequence[Path] = (),
) -> Iterator[Record]:
    """Like `colorize_files`, in a process for each device, which loads the model itself.

    Raises:
        WorkError: Same as in `colorize_files`, or if a process exits early.
    """
    context = multiprocessing.get_context("spawn")
    working: dict[Any, tuple[str, BaseProcess]] = {}
    try:
        for index, device in enumerate(devices):
            receiver, sender = context.Pipe(duplex=False)
            own = (jobs[index :: len(devices)], options, manifest, others[index :: len(devices)])
            process = context.Process(target=_work, args=(sender, model, device, *own), daemon=True)
            process.start()
            working[receiver] = device, process
            sender.close()  # so that the end of the process ends the pipe
        while working:
            ready: list[Any] = wait(list(working))
            for pipe in ready:
                try:
                    message = pipe.recv()
                except (EOFError, OSError):  # nothing more, or half a message
                    device, ended = working.pop(pipe)
                    ended.join()
                    if ended.exitcode:
                        raise WorkError(
                            f"the process of {device} exited early with code {ended.exitcode}; "
                            "the same command continues"
                        ) from None
                    continue
                if isinstance(message, str):
                    raise WorkError(message)
                yield message
    finally:
        for _, left in working.values():
            left.terminate()
            left.join()


def _work(
    sender: "Connection[Record | str, Any]",
    model: ModelFile,
    device: str,
    jobs: Sequence[Job],
    options: Options,
    manifest: Path | None,
    others: Sequence[Path],
) -> None:
    exit_with_parent()
    quiet_decoders()
    try:
        for record in colorize_files(model.load(device), jobs, options, manifest, others):
            sender.send(record)
    except (UsageError, WorkError) as error:
        sender.send(str(error))
