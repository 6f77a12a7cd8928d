"""Estimates of the time and disk space of a `colorize` call."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_colorize.inference.colorize import Options, colorize_files
from lightning_colorize.inference.jobs import Job
from lightning_colorize.models.base import Model

_TRIED = 8


@dataclass(frozen=True)
class Estimate:
    """The estimated work of a call."""

    images: int  # Number of images without a result.
    done: int  # Number of images with a result.
    read: int  # Bytes of the images without a result.
    tried: int  # Number of images colorized for the estimate.
    megapixels: float  # Mean size of these images.
    written: float  # Estimated bytes of the results.
    seconds: float  # Estimated time for all images.
    free: int  # Free bytes on the disk of the results.
    failures: dict[str, str]  # Reasons by image, for tried images that failed.


def estimate(model: Model, jobs: Sequence[Job], options: Options, folder: Path) -> Estimate:
    """Colorize some of the images in a temporary folder, and extrapolate to all.

    The results' `folder` may not exist yet.
    """
    left = [job for job in jobs if options.overwrite or not all(map(isfile, job.targets))]
    tried = left[:: max(1, len(left) // _TRIED)][:_TRIED]
    with TemporaryDirectory() as temporary:
        trials = [
            job._replace(target=Path(temporary) / f"{index}{job.target.suffix}")
            for index, job in enumerate(tried)
        ]
        start = time.perf_counter()
        outcomes = list(colorize_files(model, trials, options))
        seconds = time.perf_counter() - start
        records = [record for record in outcomes if record.status == "ok"]
        written = sum(file.stat().st_size for file in Path(temporary).iterdir())
    share = len(left) / max(1, len(records))
    pixels = sum((record.width or 0) * (record.height or 0) for record in records)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return Estimate(
        images=len(left),
        done=len(jobs) - len(left),
        read=sum(job.source.stat().st_size for job in left if job.source.is_file()),
        tried=len(records),
        megapixels=pixels / 1e6 / max(1, len(records)),
        written=written * share,
        seconds=seconds * share,
        free=shutil.disk_usage(existing).free,
        failures={record.input: record.reason for record in outcomes if record.status == "failed"},
    )
