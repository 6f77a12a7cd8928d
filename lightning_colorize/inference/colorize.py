"""Image files to colorized image files, with a manifest."""

import errno
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import remove_leftovers
from lightning_colorize.common.memory import is_out_of_memory, require_out_of_memory
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import LIMITS, ImageError, Limits, read_bytes
from lightning_colorize.data.decoding.photograph import Photograph, read_photograph
from lightning_colorize.data.sources.listing import is_hidden
from lightning_colorize.inference.card import software
from lightning_colorize.inference.jobs import FILM_SUFFIXES, Job
from lightning_colorize.inference.reference import (
    NO_MATCH,
    is_followed,
    read_reference,
    to_reference,
    with_references,
)
from lightning_colorize.inference.writing import fit_format, write_photograph
from lightning_colorize.models.base import Model
from lightning_colorize.models.control import Control, Reference, require_conditions
from lightning_colorize.models.image import (
    add_colors,
    is_colored,
    network_input,
    padded_size,
    predict,
    seen_side,
)

MANIFEST = "manifest.jsonl"

EXISTS = "the output exists"
"""The reason for skipping an image, or for keeping some of its samples."""

# Approximate maximum number of pixels of the images that wait for a batch, and of those that wait
# to be written.
_WAITING_PIXELS = 2**25

_ALBUM = 50  # results that are references

_SMALLEST = 64  # minimum short side to which an input is reduced when memory is short, in pixels

_APPENDING = threading.Lock()  # several threads write lines


@dataclass
class Record:
    """The outcome of one image; a line of `manifest.jsonl`.

    Attributes:
        input: The file read.
        output: The file written, or to be written; with samples, the first of them; empty for a
            file that is not an image.
        status: `skipped` if the output exists, or the file is not to be colorized.
        reason: Why the status is not `ok`; empty if it is.
        width: Width of the upright image in pixels; None if it was not read.
        height: Height of the upright image.
        model: The checkpoint.
        size: Requested short side of the network's input in pixels.
        seconds: Time from reading to writing.
        fallbacks: Deviations from the request.
        specialist: The category whose specialist a router chose; None for the common network.
        samples: Number of numbered files; None for one without a number.
        seed: Seed of a model that samples, else None.
        settings: The model's settings.
        control: What was asked of the colors: hints, palette, label, prompt.
    """

    input: str
    output: str
    status: Literal["ok", "skipped", "failed"] = "failed"
    reason: str = ""
    width: int | None = None
    height: int | None = None
    model: str = ""
    size: int = 0
    seconds: float = 0.0
    fallbacks: list[str] = field(default_factory=list)
    specialist: str | None = None
    samples: int | None = None
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    control: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for all images of a call.

    Attributes:
        overwrite: Replace existing results; otherwise they are skipped.
        limits: Limits of the images that are read.
        batch_size: Maximum batch size.
        workers: Threads that read and write.
        skip_colored: Skip images that are already in color; sepia does not count as color.
        guided: Align colors with the edges of the full-resolution image.
        seed: Seed of a model that samples.
        consistent: Results are references of the images that follow.
    """

    overwrite: bool = False
    limits: Limits = LIMITS
    batch_size: int = 8
    workers: int = 2
    skip_colored: bool = False
    guided: bool = False
    seed: int = 0
    consistent: bool = False


@dataclass
class _Item:
    """An image in the pipeline. Without `seen` it is dropped, and its record says why."""

    job: Job
    record: Record
    start: float
    control: Control
    photograph: Photograph | None = None
    seen: Tensor | None = None

    @property
    def pixels(self) -> int:
        return (self.record.width or 0) * (self.record.height or 0)


def colorize_files(
    model: Model,
    jobs: Sequence[Job],
    options: Options,
    manifest: Path | None = None,
    others: Iterable[Path] = (),
) -> Iterator[Record]:
    """Colorize images; one that fails does not stop the others.

    Threads read and write while the network predicts. Results are written under a temporary name
    and renamed, so that none is incomplete. Temporary files of killed processes are removed first.

    Args:
        model: The model with its current settings.
        jobs: Files to read and write; folders are created.
        options: Options for all images.
        manifest: Folder whose manifest receives a line for each image.
        others: Files that are not images, which are recorded as skipped.

    Yields:
        Records, roughly in the order of the jobs.

    Raises:
        UsageError: If the manifest cannot be opened.
        WorkError: If the disk is full, or the manifest cannot be written.
    """
    if manifest is not None:
        try:
            open_manifest(manifest).close()
        except OSError as error:
            raise UsageError(f"OUTPUT {manifest}: {error.strerror}") from None
    for path in others:
        reason = "it is hidden" if is_hidden(path.name) else "its name has no image suffix"
        if path.suffix.lower() in FILM_SUFFIXES and not is_hidden(path.name):
            reason = f"a film, color it by itself: colorize {path.name} colored.mp4"
        record = Record(str(path), "", "skipped", reason, model=str(model), size=model.size)
        _append(manifest, record)
        yield record
    for folder in {job.target.parent for job in jobs}:
        remove_leftovers(folder)
    with worker_threads(options.workers) as pool:
        yield from _Pipeline(model, options, pool, manifest).run(jobs)


@contextmanager
def worker_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Provide threads that each process one image; pending work is cancelled at the end."""
    # More torch threads would slow them down. Setting the number in a thread changes the default of
    # all threads, so read this thread's number first.
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, "colorize", torch.set_num_threads, (1,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


@dataclass(eq=False)
class _Pipeline:
    """Reads, predicts and writes in parallel, with a bounded number of images in memory."""

    model: Model
    options: Options
    pool: ThreadPoolExecutor
    manifest: Path | None

    def __post_init__(self) -> None:
        self.software = software(self.model.path)
        # If images are computed one by one, a failure must not repeat the work of the others.
        self.batch_size = 1 if self.options.consistent else self.options.batch_size
        self.album = deque[Reference](maxlen=_ALBUM)  # the last results
        self.existing = deque[Path](maxlen=_ALBUM)  # those of an earlier call
        if self.options.consistent:
            require_conditions(self.model, {"reference"})
        self.waiting: dict[tuple[int, int], list[_Item]] = {}
        self.writing: deque[tuple[_Item, Future[Record]]] = deque()

    def run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Yield the records of completed images."""
        left, reading = deque(jobs), deque[Future[_Item]]()
        while left or reading:
            while left and len(reading) < self.options.workers:
                reading.append(self.pool.submit(self._read, left.popleft()))
            item = reading.popleft().result()
            if item.seen is None:
                if self.options.consistent and item.record.reason == EXISTS:
                    self.existing.append(item.job.targets[0])
                yield self._record(item)
            else:
                while self.existing:
                    with suppress(UsageError):  # it is grey
                        self.album.append(read_reference(self.existing.popleft()))
                size = padded_size(self.model, item.seen)
                self.waiting.setdefault(size, []).append(item)
            for batch in self._due(everything=not left and not reading):
                yield from self._predict(batch)
            yield from self._written(wait=False)
        yield from self._written(wait=True)

    def _due(self, everything: bool) -> list[list[_Item]]:
        pixels = sum(item.pixels for batch in self.waiting.values() for item in batch)
        everything |= pixels > _WAITING_PIXELS
        sizes = [s for s, b in self.waiting.items() if everything or len(b) >= self.batch_size]
        return [self.waiting.pop(size) for size in sizes]

    def _written(self, wait: bool) -> Iterator[Record]:
        """Yield the records of written images; if too many are pending, wait for some."""
        while self.writing:
            pixels = sum(item.pixels for item, _ in self.writing)
            _, written = self.writing[0]
            if not (wait or written.done() or pixels > _WAITING_PIXELS):
                break
            self.writing.popleft()
            yield written.result()

    def _record(self, item: _Item) -> Record:
        """Add a completed image to the manifest; return its record."""
        item.record.seconds = round(time.perf_counter() - item.start, 4)
        _append(self.manifest, item.record)
        return item.record

    def _read(self, job: Job) -> _Item:
        options = self.options
        model = self.model
        record = Record(str(job.source), str(job.targets[0]), model=str(model), size=model.size)
        record.samples, record.seed = job.samples, options.seed if model.draws else None
        record.settings, record.control = model.settings.values(), job.control.described()
        if options.consistent:
            record.control["consistent"] = True
        item = _Item(job, record, time.perf_counter(), job.control)
        # Not `is_file`, which raises an error for a name that is too long.
        if all(map(os.path.isfile, job.targets)) and not options.overwrite:
            record.status, record.reason = "skipped", EXISTS
            return item
        try:
            data = read_bytes(job.source)
            photograph = read_photograph(data, job.source, options.limits)
            record.height, record.width = photograph.rgb.shape[-2:]
            item.control = job.control.read(record.height, record.width, options.limits)
            item.photograph, record.fallbacks = fit_format(photograph, job.target)
            side = seen_side(record.height, record.width, record.size)
            if side < record.size:
                record.fallbacks.append(f"seen at {side} px because of its aspect ratio")
            seen = network_input(photograph.over_white().rgb, record.size)
            if options.skip_colored and is_colored(seen):
                record.status, record.reason = "skipped", "it is already in color"
            else:
                item.seen, item.control = seen, with_references(item.control, seen)
                if item.control.references and not is_followed(item.control):
                    record.fallbacks.append(NO_MATCH)
        except (ImageError, UsageError) as error:  # of the image or its hints
            record.reason = error.reason if isinstance(error, ImageError) else str(error)
        except (MemoryError, RuntimeError) as error:
            require_out_of_memory(error)
            record.reason = _too_large(record)
        return item

    def _predict(self, batch: list[_Item]) -> Iterator[Record]:
        """Predict and start writing; yield failures. If memory is short, retry with less."""
        seen = [item.seen for item in batch if item.seen is not None]
        samples = max(len(item.job.targets) for item in batch)
        try:
            for item, image in zip(batch, seen, strict=True):
                item.control = with_references(replace(item.control, references=self.album), image)
            predicted = predict(self.model, seen, controls=[item.control for item in batch])
            generators = self.model.generators(predicted.inputs, self.options.seed)
            colors = predicted.colors(n=samples, generators=generators)
        except (FloatingPointError, MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                yield from self._predict_with_less(batch)
            elif not isinstance(error, FloatingPointError | WorkError):
                raise
            elif len(batch) > 1:  # the others may be finite
                for item in batch:
                    yield from self._predict([item])
            else:
                batch[0].record.reason = str(error)
                yield self._record(batch[0])
        else:
            chosen = getattr(predicted.views[0], "chosen", None) or [None] * len(batch)
            # With hints, the images come twice.
            for item, ab, specialist in zip(batch, colors, chosen[-len(batch) :], strict=True):
                item.record.specialist = specialist
                if self.options.consistent and item.seen is not None:
                    with suppress(UsageError):  # it is grey
                        self.album.append(to_reference(add_colors(item.seen, ab[:1])))
                self.writing.append((item, self.pool.submit(self._write, item, ab)))

    def _predict_with_less(self, batch: list[_Item]) -> Iterator[Record]:
        half = len(batch) // 2
        if half:
            self.batch_size = half
            for item in batch:
                item.record.fallbacks.append(f"in a batch of {half}: out of memory")
            yield from self._predict(batch[:half])
            yield from self._predict(batch[half:])
            return
        (item,) = batch
        assert item.seen is not None
        side = min(item.seen.shape[-2:]) // 2
        if side < _SMALLEST:
            item.record.reason = _too_large(item.record)
            yield self._record(item)
            return
        item.seen = resize_short_side(item.seen, side)
        item.record.fallbacks.append(f"seen at {side} px: out of memory")
        yield from self._predict(batch)

    def _write(self, item: _Item, ab: Tensor) -> Record:
        record, photograph = item.record, item.photograph
        assert photograph is not None
        item.photograph = None
        try:
            metadata = photograph.metadata.with_software(self.software)
            guide = item.seen if self.options.guided else None
            kept = []
            for target, sample in zip(item.job.targets, ab, strict=False):
                if os.path.isfile(target) and not self.options.overwrite:
                    kept.append(target.name)
                    continue
                rgb = add_colors(photograph.rgb, sample[None], guide)
                write_photograph(replace(photograph, rgb=rgb, metadata=metadata), target)
            record.status = "ok"
            if kept:
                record.fallbacks.append(f"kept {', '.join(kept)}: {EXISTS}")
        except (MemoryError, RuntimeError) as error:
            require_out_of_memory(error)
            record.reason = _too_large(record)
        except (OSError, ValueError) as error:  # Pillow: more pixels than the format allows
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _stopped(item.job.target, error) from None
            record.reason = f"cannot be written: {getattr(error, 'strerror', None) or error}"
        # Write it now, not after the current batch, so that a killed process loses few lines.
        return self._record(item)


def _too_large(record: Record) -> str:
    return f"out of memory at {record.width} x {record.height} pixels"


def open_manifest(folder: Path) -> BinaryIO:
    """Open a folder's manifest for appending; it is created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / MANIFEST).open("a+b")
    # A killed process may have left half a line; the next line must not continue it.
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.write(b"\n")
    return file


def _append(folder: Path | None, record: Record) -> None:
    """Append a line to a folder's manifest, if any, recreating a manifest that was removed."""
    if folder is None:
        return
    try:
        with _APPENDING, open_manifest(folder) as file:
            file.write(json.dumps(asdict(record)).encode() + b"\n")
    except OSError as error:
        raise _stopped(folder / MANIFEST, error) from None


def _stopped(path: Path, error: OSError) -> WorkError:
    return WorkError(
        f"{path} cannot be written: {error.strerror}; free space or make it writable, "
        "then the same command continues"
    )
