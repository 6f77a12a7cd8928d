"""The bare training step on a batch that stays on the device, with one switch more in each row."""

import copy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from gan_step import BareGAN
from gpu_runs import Setup, System, bare, parsed, tuned
from torch import nn
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from lightning_colorize.benchmarking.stages import BareTraining
from lightning_colorize.benchmarking.timing import summary, synchronize
from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import first_line

WARM_UP, BLOCKS, STEPS, SETTLE, PROFILED = 10, 4, 25, 2, 3

# Kernels that change the memory layout of a tensor, or pad its channels.
_LAYOUT = re.compile(r"nchwToNhwc|nhwcToNchw|convertTensor|AddPadding", re.IGNORECASE)

_LONGEST = 25


class Switches(NamedTuple):
    """How a step differs from the usual script, which has torch's defaults."""

    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
    padded: bool = False  # convolutions of 1 to 3 channels have 8
    mode: str | None = None  # of torch.compile; None: not compiled
    tuned: bool = False  # cudnn.benchmark
    captured: bool = False  # the whole step is one CUDA graph


_EAGER = Switches(bf16=True, channels_last=True, fused=True)
_COMPILED = _EAGER._replace(mode="default", tuned=True)

# In the order in which they are built: what takes long comes last.
ROWS = {
    "script": Switches(),
    "+ bf16": Switches(bf16=True),
    "+ channels_last": Switches(bf16=True, channels_last=True),
    "+ fused": _EAGER,
    "+ fused, padded": _EAGER._replace(padded=True),
    "+ fused, benchmark, captured": _EAGER._replace(tuned=True, captured=True),
    "+ compile": _EAGER._replace(mode="default"),
    "+ benchmark": _COMPILED,
    "captured": _COMPILED._replace(captured=True),
    "+ reduce-overhead": _COMPILED._replace(mode="reduce-overhead"),
}


@dataclass
class Row:
    """A step that can be repeated, and what was measured of it."""

    work: Callable[[], object]
    tuned: bool
    report: dict[str, Any] = field(default_factory=dict)


class Bench:
    """The rows of a system. Rows of the same networks share them, and are compiled once."""

    def __init__(self, system: System, setup: Setup) -> None:
        self.system = system
        self.setup = setup
        self.rows: dict[str, Row] = {}
        self._tasks: dict[Switches, Any] = {}
        self._trainings: dict[Switches, BareGAN | BareTraining] = {}
        self._batches: dict[bool, ColorBatch] = {}
        self._kept: dict[Switches, int] = {}  # bytes of networks, gradients and optimizers

    def build(self, name: str) -> dict[str, Any]:
        """Make a row and take its first steps; returns what the row's report has so far."""
        switches, device = ROWS[name], self.setup.device
        before = _allocated(device)
        start = time.perf_counter()
        with tuned(switches.tuned):
            work = self._step(switches)
            if switches.captured:
                work = _captured(work)
            for _ in range(self.setup.few(WARM_UP)):
                work()
        synchronize(device)
        self.rows[name] = Row(work, switches.tuned)
        report = self.rows[name].report
        report["switches"] = switches._asdict()
        # To build, compile, tune and capture, with the first steps.
        report["start_seconds"] = time.perf_counter() - start
        # Networks that another row uses too were allocated before.
        key = _networks(switches)
        report["memory"] = _allocated(device, peak=True) - before + self._kept.get(key, 0)
        self._kept.setdefault(key, _allocated(device) - before)
        return report

    def blocks(self) -> dict[str, float]:
        """Time all rows by turns; returns their median milliseconds per step."""
        found: dict[str, list[float]] = {name: [] for name in self.rows}
        for _ in range(BLOCKS):
            for name, row in list(self.rows.items()):
                try:
                    found[name].append(self._timed(row))
                except Exception as error:  # the others are still measured
                    row.report["failed"] = first_line(error)
                    del self.rows[name]
        for name, row in self.rows.items():
            row.report |= {"milliseconds": summary(found[name]), "raw": found[name]}
        return {name: row.report["milliseconds"]["median"] for name, row in self.rows.items()}

    def profile(self, name: str) -> dict[str, Any]:
        """Count and time the kernels of a row's step; returns what was added to its report."""
        row = self.rows[name]
        with tuned(row.tuned):
            row.report["profile"] = profiled(row.work, self.setup.device)
        return {k: v for k, v in row.report["profile"].items() if k != "longest"}

    def _timed(self, row: Row) -> float:
        """Return the milliseconds of a step; the first ones are not measured."""
        steps = self.setup.few(STEPS)
        with tuned(row.tuned):
            for _ in range(SETTLE):
                row.work()
            synchronize(self.setup.device)
            start = time.perf_counter()
            for _ in range(steps):
                row.work()
            synchronize(self.setup.device)
        return 1000 * (time.perf_counter() - start) / steps

    def _step(self, switches: Switches) -> Callable[[], object]:
        key = _networks(switches)
        if key not in self._trainings:
            self._trainings[key] = self._training(key)
        training, batch = self._trainings[key], self._batch(switches.channels_last)
        if switches.mode != "reduce-overhead":
            return lambda: training.step(batch)

        def work() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            training.step(batch)

        return work

    def _training(self, switches: Switches) -> BareGAN | BareTraining:
        settings = Switches(channels_last=switches.channels_last, fused=switches.fused)
        if settings not in self._tasks:
            names = ("channels_last", "fused")
            words = [w for n in names for w in (f"--model.{n}", str(getattr(settings, n)).lower())]
            self._tasks[settings] = parsed(self.system, self.setup, words)
        task = copy.deepcopy(self._tasks[settings])
        if switches.padded:
            pad_channels(task)
        training = bare(task, self.setup.device, switches.bf16)
        if switches.fused and self.setup.device.type == "cuda":
            gan = isinstance(training, BareGAN)
            names = ("generator", "discriminator") if gan else ("optimizer",)
            for group in (g for n in names for g in getattr(training, n).param_groups):
                group["capturable"] = True
        if switches.mode is not None:
            for network in task.trained_networks:
                network.compile(mode=switches.mode)
        return training

    def _batch(self, channels_last: bool) -> ColorBatch:
        if channels_last not in self._batches:
            side = self.system.size
            shape = (self.system.batch_size, 2, side, side)
            ab = 100 * torch.rand(shape, device=self.setup.device) - 50
            layout = torch.channels_last if channels_last else torch.contiguous_format
            L = 100 * torch.rand_like(ab[:, :1])
            self._batches[channels_last] = ColorBatch(L, ab.to(memory_format=layout), names=[])
        return self._batches[channels_last]


def _networks(switches: Switches) -> Switches:
    """Return the switches of networks and optimizers, which rows share."""
    return switches._replace(tuned=False, captured=False)


def _captured(work: Callable[[], object]) -> Callable[[], object]:
    """Return a step as one CUDA graph; warm-up on a side stream, as torch's documentation has it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def pad_channels(network: nn.Module) -> None:
    """Pad convolutions of fewer than 8 channels by zeros; the results do not change."""
    for conv in network.modules():
        if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            continue
        real = conv.out_channels
        more_in, more_out = (max(0, 8 - n) for n in (conv.in_channels, real))
        pads = (more_in, 0, more_out) if isinstance(conv, nn.Conv2d) else (more_out, 0, more_in)
        weight = F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, *pads))
        conv.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        if conv.bias is not None:
            conv.bias = nn.Parameter(F.pad(conv.bias.detach(), (0, more_out)))
        if more_in:
            pad = (0, 0, 0, 0, 0, more_in)
            conv.register_forward_pre_hook(lambda _, given, pad=pad: F.pad(given[0], pad))
        if more_out:
            conv.register_forward_hook(lambda _, given, made, real=real: made[:, :real])


def profiled(work: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Return kernels, their milliseconds, waits and copies of a step, and the longest kernels.

    On a CPU, operators stand for kernels.
    """
    gpu = device.type == "cuda"
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED):
            work()
        synchronize(device)
    events: list[Any] = list(profiler.key_averages())
    kernels = [e for e in events if e.device_type == kind and not e.is_user_annotation]
    times = {
        e.key: (e.self_device_time_total if gpu else e.self_cpu_time_total) / PROFILED
        for e in kernels
    }
    counts = {e.key: e.count / PROFILED for e in kernels}
    total = sum(times.values())

    def count(pattern: str) -> float:
        return sum(e.count for e in events if re.match(pattern, e.key)) / PROFILED

    longest = sorted(times, key=times.__getitem__, reverse=True)[:_LONGEST]
    return {
        "kernel_milliseconds": total / 1000,
        "kernels": sum(n for name, n in counts.items() if not name.startswith("Mem")),
        "cudaStreamSynchronize": count("cudaStreamSynchronize"),
        "copies": count("Memcpy "),
        "copies_from_host": count("Memcpy HtoD"),
        "copies_to_host": count("Memcpy DtoH"),
        "layout_share": sum(t for n, t in times.items() if _LAYOUT.search(n)) / total,
        "longest": [[n[:160], round(times[n], 1), round(counts[n], 1)] for n in longest],
    }


def _allocated(device: torch.device, peak: bool = False) -> int:
    """Return the bytes allocated now, or their peak since the last call without `peak`."""
    if device.type != "cuda":
        return 0
    if peak:
        return torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
