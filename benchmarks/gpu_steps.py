"""The bare training step on a batch that stays on the device, with one switch more in each row."""

import copy
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from gan_step import BareGAN
from gpu_runs import Setup, System, bare, parsed, tuned
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from lightning_colorize.benchmarking.stages import BareTraining
from lightning_colorize.benchmarking.timing import summary, synchronize
from lightning_colorize.color import ColorBatch

WARM_UP, BLOCKS, STEPS, SETTLE, PROFILED = 10, 4, 25, 2, 3

# Kernels that change the memory layout of a tensor, or pad its channels.
_LAYOUT = re.compile(r"nchwToNhwc|nhwcToNchw|convertTensor|AddPadding", re.IGNORECASE)


class Switches(NamedTuple):
    """How a step differs from the usual script, which has torch's defaults."""

    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
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
    "+ fused, benchmark, captured": _EAGER._replace(tuned=True, captured=True),
    "+ compile": _EAGER._replace(mode="default"),
    "+ benchmark": _COMPILED,
    "captured": _COMPILED._replace(captured=True),
    "+ reduce-overhead": _COMPILED._replace(mode="reduce-overhead"),
}


Step = Callable[[], object]


class Bench:
    """The rows of a system. Rows of the same networks share them, and are compiled once."""

    def __init__(self, system: System, setup: Setup) -> None:
        self.device, self.toy, self._few = setup.device, setup.toy, setup.few
        self.steps: dict[str, Step] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self._task = cache(lambda *words: parsed(system, setup, [*words]))
        self._trainings: dict[Switches, BareGAN | BareTraining] = {}
        self._kept: dict[Switches, int] = {}  # bytes of networks, gradients and optimizers
        shape = (system.batch_size, 2, system.size, system.size)
        ab = 100 * torch.rand(shape, device=self.device) - 50
        L = 100 * torch.rand_like(ab[:, :1])
        # By `channels_last`. A captured step reads from them for ever.
        layouts = (torch.contiguous_format, torch.channels_last)
        self._batches = [ColorBatch(L, ab.to(memory_format=one), names=[]) for one in layouts]

    def build(self, name: str) -> dict[str, Any]:
        """Make a row and take its first steps; returns what its report has so far."""
        switches = ROWS[name]
        networks = switches._replace(tuned=False, captured=False)
        before = _allocated(self.device)
        start = time.perf_counter()
        with tuned(switches.tuned):
            if networks not in self._trainings:
                self._trainings[networks] = self._training(networks)
            step = self._step(switches, self._trainings[networks])
            for _ in range(self._few(WARM_UP)):
                step()
        synchronize(self.device)
        self.steps[name] = step
        self.reports[name] = {
            "switches": switches._asdict(),
            # To build, compile, tune and capture, with the first steps.
            "start_seconds": time.perf_counter() - start,
            # Networks that another row uses too were allocated before.
            "memory": _allocated(self.device, peak=True) - before + self._kept.get(networks, 0),
        }
        self._kept.setdefault(networks, _allocated(self.device) - before)
        return self.reports[name]

    def blocks(self) -> dict[str, Any]:
        """Time all rows by turns; returns their milliseconds per step."""
        for name in BLOCKS * [*self.steps]:
            raw = self.reports[name].setdefault("raw", [])
            raw.append(self._timed(name))
            self.reports[name]["milliseconds"] = summary(raw)
        return {name: report["milliseconds"] for name, report in self.reports.items()}

    def profile(self, name: str) -> dict[str, Any]:
        """Count and time the kernels of a row's step."""
        with tuned(ROWS[name].tuned):
            found = self.reports[name]["profile"] = profiled(self.steps[name], self.device)
        return {key: value for key, value in found.items() if key != "longest"}

    def _timed(self, name: str) -> float:
        steps = self._few(STEPS)
        with tuned(ROWS[name].tuned):
            for _ in range(SETTLE):
                self.steps[name]()
            synchronize(self.device)
            start = time.perf_counter()
            for _ in range(steps):
                self.steps[name]()
            synchronize(self.device)
        return 1000 * (time.perf_counter() - start) / steps

    def _training(self, switches: Switches) -> BareGAN | BareTraining:
        chosen = {"channels_last": switches.channels_last, "fused": switches.fused}
        words = (f"--model.{name}={str(value).lower()}" for name, value in chosen.items())
        task = copy.deepcopy(self._task(*words))
        training = bare(task, self.device, switches.bf16)
        gan = isinstance(training, BareGAN)
        for network in ("generator", "discriminator") if gan else ("optimizer",):
            for group in getattr(training, network).param_groups:
                group["capturable"] = switches.fused and self.device.type == "cuda"
        for network in task.trained_networks if switches.mode and not self.toy else ():
            network.compile(mode=switches.mode)
        return training

    def _step(self, switches: Switches, training: BareGAN | BareTraining) -> Step:
        batch = self._batches[switches.channels_last]

        def step() -> None:
            if switches.mode == "reduce-overhead":
                torch.compiler.cudagraph_mark_step_begin()
            training.step(batch)

        return _captured(step) if switches.captured else step


def _captured(step: Step) -> Step:
    """Return a step as one CUDA graph, captured as torch's documentation has it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def profiled(step: Step, device: torch.device) -> dict[str, Any]:
    """Return kernels, their milliseconds, waits and copies of a step, and the longest kernels.

    On a CPU, operators stand for kernels.
    """
    gpu = device.type == "cuda"
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    time_of = "self_device_time_total" if gpu else "self_cpu_time_total"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * gpu]) as profiler:
        for _ in range(PROFILED):
            step()
        synchronize(device)
    events: list[Any] = list(profiler.key_averages())
    # Name, microseconds, count.
    kernels = [
        (e.key, getattr(e, time_of) / PROFILED, e.count / PROFILED)
        for e in events
        if e.device_type == kind and not e.is_user_annotation
    ]
    kernels.sort(key=lambda kernel: -kernel[1])
    total = sum(time for _, time, _ in kernels)
    layout = sum(time for name, time, _ in kernels if _LAYOUT.search(name))
    counted = ("cudaStreamSynchronize", "Memcpy", "Memcpy HtoD", "Memcpy DtoH")
    return {
        "kernel_milliseconds": total / 1000,
        "kernels": sum(count for name, _, count in kernels if not name.startswith("Mem")),
        **{n: sum(e.count for e in events if e.key.startswith(n)) / PROFILED for n in counted},
        "layout_share": layout / total,
        "longest": [(n[:160], round(time, 1), round(c, 1)) for n, time, c in kernels[:25]],
    }


def _allocated(device: torch.device, peak: bool = False) -> int:
    """Return the bytes allocated now, or their peak since the last call without `peak`."""
    if device.type != "cuda":
        return 0
    if peak:
        return torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
