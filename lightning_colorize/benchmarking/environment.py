"""The benchmark environment, which is part of every report."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from lightning_colorize.common.files import write_json
from lightning_colorize.common.provenance import git_commit, versions


def environment() -> dict[str, Any]:
    """Return commit, versions, processor, cores and load average."""
    return {
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()}
        | versions("Pillow", "scikit-image", "numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg(),
    }


def write_report(path: Path, command: str, report: dict[str, Any]) -> None:
    """Write a report as JSON, with the command and the environment."""
    write_json(path, {"command": command} | report | {"environment": environment()})


def _cpu_name() -> str:
    """Return the processor model, from /proc/cpuinfo on Linux."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
