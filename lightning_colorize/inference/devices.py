"""Colorizing image files on several devices in parallel."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.processes import exit_with_parent, quiet_decoders
from lightning_colorize.inference.colorize import Options, Record, colorize_files
from lightning_colorize.inference.colorizer import PRECISIONS
from lightning_colorize.inference.jobs import Job
from lightning_colorize.models.base import Model
from lightning_colorize.models.load import choose_device, load_model

_POLL = 1.0  # seconds

# The index of a process with a record, an error, or None at its end.
_Message = tuple[int, Record | str | None]


@dataclass(frozen=True)
class ModelFile:
    """A model file with the options for loading it in another process.

    Attributes:
        path: The checkpoint, or a run folder.
        allow: Classes that the checkpoint may import.
        settings: Settings by name; values may be text.
        precision: A precision of Lightning's Trainer.
        size: Short side of the input in pixels; None for the model's own.
    """

    path: Path
    allow: Sequence[str]
    settings: dict[str, Any]
    precision: str = "32-true"
    size: int | None = None

    def load(self, device: torch.device | str) -> Model:
        """Load the model to a device."""
        model = load_model(self.path, self.allow, device)
        model.settings = model.settings.updated(self.settings)
        model.set_precision(PRECISIONS[self.precision])
        model.size = self.size or model.size
        return model


def device_names(device: str, count: int) -> list[str]:
    """Return the names of several devices of the same type.

    Raises:
        UsageError: If there are fewer devices.
    """
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
    """Like `colorize_files`, in a process for each device.

    Args:
        model: The model; each process loads it.
        devices: Names of torch devices.
        jobs: Same as in `colorize_files`.
        options: Same as in `colorize_files`.
        manifest: Same as in `colorize_files`.
        others: Same as in `colorize_files`.

    Raises:
        WorkError: Same as in `colorize_files`, or if a process exits early.
    """
    context = multiprocessing.get_context("spawn")
    messages: Queue[_Message] = context.Queue()
    count = len(devices)
    processes = [
        context.Process(
            target=_work,
            args=(messages, index, model, device, jobs[index::count], options, manifest),
            kwargs={"others": others[index::count]},
            daemon=True,
        )
        for index, device in enumerate(devices)
    ]
    for process in processes:
        process.start()
    working = set(range(count))
    try:
        while working:
            try:
                index, message = messages.get(timeout=_POLL)
            except Empty:
                _require_alive({devices[index]: processes[index] for index in working})
                continue
            if isinstance(message, Record):
                yield message
            elif message is None:
                working.remove(index)
            else:
                raise WorkError(message)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _require_alive(processes: Mapping[str, BaseProcess]) -> None:
    for device, process in processes.items():
        if process.exitcode is not None:
            raise WorkError(
                f"the process of {device} exited early with code {process.exitcode}; the "
                "same command continues"
            )


def _work(
    messages: "Queue[_Message]",
    index: int,
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
            messages.put((index, record))
        messages.put((index, None))
    except (UsageError, WorkError) as error:
        messages.put((index, str(error)))
