"""What a GPU makes of training: the bare step with one switch after the other, `fit`, a notebook.

    python benchmarks/gpu.py [--data FOLDER] [--minutes 6] [--json FILE] [--toy]

README.md says what is measured and what each minute buys. The file is written after each part; a
part for which no time is left is listed as such. Without --data it makes JPEGs of 500 x 375. --toy
runs all parts with a tiny cGAN, on whatever device there is, without the compiler.
"""

import os
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

from gpu_runs import CGAN, RESNET, Budget, Setup, System, fit, notebook, run_script
from gpu_steps import ROWS, Bench

_BEFORE = [f"--model.{name}=false" for name in ("fused", "channels_last", "compile")]
_BEFORE += ["--data.compile=false", "--data.cache=always"]
_ALL = ["--model.compile=reduce-overhead", "--data.compile=true", "--trainer.benchmark=true"]

# Settings of `fit`: those that are measured first, and those after all systems.
FIRST = {"default": [], "all": _ALL}
LATER = {
    "before": _BEFORE,
    "files": ["--data.cache=never"],
    "before, fp32": [*_BEFORE, "--trainer.precision=32-true"],
}

_RUN, _COMPILING = 25.0, 75.0  # the most seconds that a part takes


def measure(setup: Setup, budget: Budget) -> None:
    """All parts, those first without which the others say little."""
    systems = (CGAN.toy(),) if setup.toy else (CGAN, RESNET)
    found = [asdict(system) | {"bare": {}, "fit": {}} for system in systems]
    budget.report["systems"] = found
    run, compiling = setup.seconds(_RUN), setup.seconds(_COMPILING)

    def fits(system: System, row: dict[str, Any], settings: dict[str, list[str]]) -> None:
        for name, words in settings.items():
            needed = run if name in ("before", "before, fp32") else compiling
            work = partial(fit, system, setup, words)
            budget.run(row["fit"], f"{system.name}, fit: {name}", needed, work)

    for system, row in zip(systems, found, strict=True):
        # ResNet's `fit` comes before its bare steps, for which time may be short.
        if system is not RESNET:
            measure_steps(system, setup, budget, row["bare"])
        fits(system, row, FIRST)
        work = partial(notebook, system, setup)
        budget.run(row, f"{system.name}: notebook", run, work)
        if system is RESNET:
            measure_steps(system, setup, budget, row["bare"])
        budget.run(row, f"{system.name}: ratios", 0.0, partial(ratios, row))
    for system, row in zip(systems, found, strict=True):
        work = partial(notebook, system, setup, trains=False)
        budget.run(row, f"{system.name}: loader", run, work)
        fits(system, row, LATER)


def measure_steps(system: System, setup: Setup, budget: Budget, report: dict[str, Any]) -> None:
    """The rows of a system; their report is filled as they are measured."""
    bench = Bench(system, setup)
    for name, switches in ROWS.items():
        part = f"{system.name}, bare: {name}"
        if switches.captured and setup.device.type != "cuda":
            budget.skip(part, "CUDA graphs need a GPU")
            continue
        needed = setup.seconds(_COMPILING if switches.mode else 5.0)
        budget.run(report, part, needed, partial(bench.build, name))
    budget.run({}, f"{system.name}, bare: blocks", 0.0, bench.blocks)
    for name in bench.steps:
        work = partial(bench.profile, name)
        budget.run({}, f"{system.name}, profile: {name}", setup.seconds(3), work)


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """How many times as fast `fit` is as the notebook's script, and as the fastest bare step."""
    rates = {name: run["images_per_second"] for name, run in row["fit"].items()}
    steps = [b["milliseconds"]["median"] for b in row["bare"].values() if "milliseconds" in b]
    others = {"best bare step": 1000 * row["batch_size"] / min(steps)} if steps else {}
    if "notebook" in row:
        others["notebook"] = row["notebook"]["images_per_second"]
    return {
        f"{name} / {other}": rates[name] / rate
        for name in FIRST
        for other, rate in others.items()
        if name in rates
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    # Else the profiler, once it has run, may break the replay of CUDA graphs.
    os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
    return run_script(argv, "gpu", __doc__.splitlines()[0], 6.0, measure)


if __name__ == "__main__":
    sys.exit(main())
