"""`tune`: look for a learning rate and write it as a fragment that `fit` takes."""

import os
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import Parser, expanded_path
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import require_writable

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI

HELP = "look for a learning rate; what it finds is a fragment for fit"

PROGRAM = "lightning-colorize tune"


def main(words: list[str]) -> int:
    """Run Lightning's learning-rate finder on an experiment; returns the exit code."""
    args, rest = _parser().parse_known_args(words)
    if args.output.exists():
        raise UsageError(f"{args.output} is there already; name another --output")
    require_writable(args.output, "--output")
    if args.steps < 20:
        raise UsageError(f"--steps {args.steps} is too few to see a slope; take at least 20")
    if not 0 < args.min_lr < args.max_lr:
        raise UsageError(f"--min-lr {args.min_lr} must lie between 0 and --max-lr {args.max_lr}")

    if not sys.stdout.isatty():
        # Read when tqdm is imported, which draws the finder's bar.
        os.environ["TQDM_DISABLE"] = "1"
    from lightning_colorize.training.session import quiet, session

    quiet()
    # As many batches as there are rates, however many epochs that takes.
    endless = [*rest, "--trainer.max_epochs=-1", "--trainer.max_time=null"]
    with TemporaryDirectory() as scratch, session(endless, PROGRAM, scratch=Path(scratch)) as cli:
        lr = find_rate(cli, args.min_lr, args.max_lr, args.steps)
    if lr is None:
        raise WorkError("the loss fell nowhere: give more --steps or another --min-lr, --max-lr")
    write_fragment(args.output, cli.config.model.as_dict(), lr)
    print(f"Learning rate {lr:.3g}, written to {args.output}. Use it after the experiment:")
    print(f"  lightning-colorize fit {shlex.join([*rest, '--config', str(args.output)])}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Raise the learning rate batch by batch and suggest the one at which the loss "
        "falls fastest (Smith 2017). Everything else is as in fit: --config, --data.root, ...",
    )
    parser.add_argument("--output", type=expanded_path, default="tuned.yaml", help="the fragment")
    parser.add_argument("--min-lr", type=float, default=1e-6, help="where to begin")
    parser.add_argument("--max-lr", type=float, default=1.0, help="where to end")
    parser.add_argument("--steps", type=int, default=100, help="batches, one rate each")
    return parser


def find_rate(cli: "ColorizeCLI", min_lr: float, max_lr: float, steps: int) -> float | None:
    """Return the rate at which the loss falls fastest, or None."""
    from pytorch_lightning.tuner.tuning import Tuner

    from lightning_colorize.tasks.optimisation import keep_encoder_rate

    if not cli.model.automatic_optimization:
        raise UsageError("tune looks for one rate, and a GAN has two: set them by hand")

    def on_train_start() -> None:
        for optimizer in cli.trainer.optimizers:
            keep_encoder_rate(optimizer, cli.model.encoder_lr_ratio)

    # Not a callback: the finder takes those away.
    cli.model.on_train_start = on_train_start
    finder = Tuner(cli.trainer).lr_find(
        cli.model,
        datamodule=cli.datamodule,
        min_lr=min_lr,
        max_lr=max_lr,
        num_training=steps,
        update_attr=False,
    )
    return None if finder is None else finder.suggestion()


def write_fragment(path: Path, model: dict[str, Any], lr: float) -> None:
    """Write the model's optimiser with another rate, as a configuration for `--config`."""
    import yaml

    optimizer = dict(model["init_args"]["optimizer"])
    optimizer["init_args"] = {**optimizer.get("init_args", {}), "lr": float(f"{lr:.3g}")}
    fragment = {"model": {"class_path": model["class_path"], "init_args": {"optimizer": optimizer}}}
    text = yaml.safe_dump(fragment, sort_keys=False)
    path.write_text(f"# Found by {PROGRAM}.\n{text}", encoding="utf-8")
