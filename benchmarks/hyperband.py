"""What hyperband would have saved of a grid, and what it would have missed.

    lightning-colorize sweep export SWEEP
    python benchmarks/hyperband.py SWEEP/trials.json [--rule MIN_ITER,ETA ...] [--orders 200]

Replays the recorded validations of a sweep that ran every trial to its end, one trial after the
other, in random orders, and stops what the rule stops. For each rule: the share of the grid's
validations that were spent, and the regret, the gap between the grid's best trial and the best one
that was found, as a share of the gap between the grid's best and its median. Median and 95 %
interval over the orders go to benchmarks/results/hyperband.json.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import command_of

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.sweeps.hyperband import Hyperband, stop_reason
from lightning_colorize.sweeps.spec import SweepMetric

RESULTS = Path(__file__).parent / "results"


class Replay(NamedTuple):
    """What one order came to.

    Attributes:
        spent: Share of all validations that were made.
        regret: Share of the gap between best and median that was missed.
    """

    spent: float
    regret: float


def main() -> None:
    """Replay and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=Path, help="as `sweep export` writes it")
    parser.add_argument(
        "--rule", metavar="MIN_ITER,ETA", action="append", help="(default: 1,2 1,3 and 2,3)"
    )
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sweep = json.loads(args.trials.read_text())
    histories = [trial["history"] for trial in sweep["trials"] if trial["state"] == "finished"]
    if len({len(history) for history in histories}) != 1:
        sys.exit("the trials have not all validated as often; replay a grid without hyperband")
    mode = SweepMetric(**sweep["metric"]).mode
    rows = []
    for words in args.rule or ["1,2", "1,3", "2,3"]:
        min_iter, eta = (float(word) for word in words.split(","))
        # The best value so far counts, as at the end it is the best that a trial is judged by.
        rule = Hyperband(type="hyperband", min_iter=int(min_iter), eta=eta, strict=False)
        draw = random.Random(args.seed)
        replays = [
            replay(draw.sample(histories, len(histories)), mode, rule) for _ in range(args.orders)
        ]
        row = {"min_iter": int(min_iter), "eta": eta}
        row |= {name: spread([getattr(r, name) for r in replays]) for name in Replay._fields}
        rows.append(row)
        print(row)
    report = {
        "sweep": sweep["name"],
        "metric": sweep["metric"],
        "trials": len(histories),
        "validations": len(histories[0]),
        "orders": args.orders,
        "rules": rows,
    }
    write_report(RESULTS / "hyperband.json", command_of("hyperband", sys.argv[1:]), report)


def replay(histories: Sequence[Sequence[float]], goal: Goal, rule: Hyperband) -> Replay:
    """Run trials in this order, each until it ends or is behind those before it.

    Args:
        histories: Each trial's values of the metric, were it run to its end.
        goal: Which way is better.
        rule: When a trial is stopped.
    """
    seen: list[Sequence[float]] = []
    ended: list[Sequence[float]] = []
    for history in histories:
        made = next(
            (
                n
                for n in range(1, len(history))
                if stop_reason(history[:n], seen, goal, rule) is not None
            ),
            len(history),
        )
        seen.append(history[:made])
        if made == len(history):
            ended.append(history)
    best = max if goal == "max" else min
    finals = [best(history) for history in histories]
    found = best(best(history) for history in ended)
    gap = abs(best(finals) - statistics.median(finals))
    return Replay(
        spent=sum(map(len, seen)) / sum(map(len, histories)),
        regret=abs(best(finals) - found) / gap if gap else 0.0,
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and 95 % interval."""
    low, median, high = np.percentile(values, [2.5, 50, 97.5])
    return {"median": float(median), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
