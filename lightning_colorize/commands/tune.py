"""`tune`: find a learning rate and write it to a configuration fragment for `fit`."""

import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import COMMAND, Parser, expanded_path, number
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import require_writable

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI

HELP = "find a learning rate and write it to a configuration fragment for fit"

PROGRAM = "lightning-colorize tune"

_UNSETTLED = 10  # first losses, of a running mean
_CLEAR = 1.05  # rise on both sides of a minimum


def main(words: list[str]) -> int:
    """Run Lightning's learning-rate finder on an experiment; return the exit code."""
    args, rest = _parser().parse_known_args(words)
    if args.output.exists():
        raise UsageError(f"{args.output} already exists; give another --output")
    require_writable(args.output, "--output")
    if not 0 < args.min_lr < args.max_lr:
        raise UsageError(f"--min-lr {args.min_lr} must lie between 0 and --max-lr {args.max_lr}")

    if not sys.stdout.isatty():
        # The finder's tqdm progress bar reads this on import.
        os.environ["TQDM_DISABLE"] = "1"
    from lightning_colorize.training.session import quiet, session

    quiet()
    # Provide enough batches for all rates, regardless of epochs.
    endless = [*rest, "--trainer.max_epochs=-1", "--trainer.max_time=null"]
    with TemporaryDirectory() as scratch, session(endless, PROGRAM, scratch=Path(scratch)) as cli:
        found = find_rate(cli, args.min_lr, args.max_lr, args.steps)
    if found is None:
        raise WorkError("the loss never fell: give more --steps or another --min-lr, --max-lr")
    lr, is_clear = found
    if not is_clear:
        hint = "give more --steps, or another --min-lr, --max-lr"
        print(f"the loss has no clear minimum, the rate may be far off: {hint}", file=sys.stderr)
    write_fragment(args.output, cli.config.model.as_dict(), lr)
    print(f"Learning rate {lr:.3g}, written to {args.output}. Use it after the experiment:")
    print(f"  {COMMAND} fit {shlex.join([*rest, '--config', str(args.output)])}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Raise the learning rate batch by batch and suggest a tenth of the one at "
        "which the loss is lowest (Smith 2017). Accepts all arguments of fit, for example: "
        f"{PROGRAM} --config experiments/cnn_unet.yaml --data.root photos --output lr.yaml",
    )
    parser.add_argument(
        "--output",
        type=expanded_path,
        default="tuned.yaml",
        help="the fragment to write (default: tuned.yaml)",
    )
    parser.add_argument("--min-lr", type=float, default=1e-6, help="lowest rate (default: 1e-6)")
    parser.add_argument("--max-lr", type=float, default=1.0, help="highest rate (default: 1)")
    parser.add_argument(
        "--steps",
        type=number(int, 20),
        default=100,
        help="number of rates, one batch each (default: 100)",
    )
    return parser


def find_rate(cli: "ColorizeCLI", min_lr: float, max_lr: float, steps: int) -> Any:
    """Return the result of `choose_rate`, or None."""
    from pytorch_lightning.tuner.tuning import Tuner

    from lightning_colorize.tasks.optimization import keep_encoder_rate

    if not cli.model.automatic_optimization:
        raise UsageError("tune finds one learning rate, but a GAN has two: set them manually")

    def on_train_start() -> None:
        for optimizer in cli.trainer.optimizers:
            keep_encoder_rate(optimizer)

    # Not a callback, because the finder removes callbacks.
    cli.model.on_train_start = on_train_start
    finder = Tuner(cli.trainer).lr_find(
        cli.model,
        datamodule=cli.datamodule,
        min_lr=min_lr,
        max_lr=max_lr,
        num_training=steps,
        update_attr=False,
    )
    return None if finder is None else choose_rate(finder.results["lr"], finder.results["loss"])


def choose_rate(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, bool] | None:
    """Return a tenth of the rate of the lowest loss, and whether that is clearly a minimum.

    Lightning's suggestion, the steepest fall per step of the rate, is noise of the lowest rates.
    """
    known = [pair for pair in zip(losses, rates, strict=False) if math.isfinite(pair[0])]
    known = known[_UNSETTLED:-1]
    if not known:
        return None
    at = known.index(min(known))
    lowest, rate = known[at]
    least_side = min(max(known[: at + 1]), max(known[at:]))[0]
    return max(rate / 10, rates[0]), least_side > _CLEAR * lowest


def write_fragment(path: Path, model: dict[str, Any], lr: float) -> None:
    """Write the model's optimizer with a new learning rate as a fragment for `--config`."""
    import yaml

    optimizer = dict(model["init_args"]["optimizer"])
    optimizer["init_args"] = {**optimizer.get("init_args", {}), "lr": float(f"{lr:.3g}")}
    fragment = {"model": {"class_path": model["class_path"], "init_args": {"optimizer": optimizer}}}
    text = yaml.safe_dump(fragment, sort_keys=False)
    path.write_text(f"# Found by {PROGRAM}.\n{text}", encoding="utf-8")
