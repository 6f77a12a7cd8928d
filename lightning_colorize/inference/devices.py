"""Image files to colorized image files on several devices at once."""

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
from lightning_colorize.common.processes import exit_with_parent
from lightning_colorize.inference.colorize import Options, Record, colorize_files
from lightning_colorize.inference.colorizer import Colorizer, choose_device, load_model
from lightning_colorize.inference.jobs import Job

_POLL = 1.0  # seconds

# The index of a process, and a record, None at its end, or an error.
_Message = tuple[int, Record | str | None]


@dataclass(frozen=True)
class ModelFile:
    """What a process needs to load a model.

    Attributes:
        path: The checkpoint, or a run folder.
        allow: Classes that the checkpoint may import.
        decoding: Arguments of `Colorizer.set_decoding`.
        precision: Argument of `Colorizer.set_precision`.
    """

    path: Path
    allow: Sequence[str]
    decoding: dict[str, Any]
    precision: str = "32-true"

    def load(self, device: torch.device | str) -> Colorizer:
        """Load the model to a device."""
        model = load_model(self.path, self.allow, device)
        model.set_decoding(**self.decoding)
        model.set_precision(self.precision)
        return model


def device_names(device: str, count: int) -> list[str]:
    """Return the names of several devices of a kind.

    Raises:
        UsageError: If there are fewer, or none.
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
    """Colorize as `colorize_files` does, in a process for each device.

    Args:
        model: The model, which each process loads.
        devices: Names of torch's devices.
        jobs: As of `colorize_files`.
        options: As of `colorize_files`.
        manifest: As of `colorize_files`.
        others: As of `colorize_files`.

    Raises:
        WorkError: As of `colorize_files`, or if a process ends before its work.
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
                f"the process of {device} ended with code {process.exitcode} before its work; the "
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
    try:
        for record in colorize_files(model.load(device), jobs, options, manifest, others):
            messages.put((index, record))
        messages.put((index, None))
    except (UsageError, WorkError) as error:
        messages.put((index, str(error)))
