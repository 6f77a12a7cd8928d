"""`fit`: train in a new run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError, WorkError

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI

HELP = "train an experiment in a new run folder"

PROGRAM = "lightning-colorize fit"


_USAGE = f"""\
usage: {PROGRAM} --config FILE [--config FILE ...] [--KEY VALUE ...]

Train an experiment in a new run folder <run.root>/<experiment>/<run.name>/.

  {PROGRAM} --config experiments/quickstart.yaml
  {PROGRAM} --config experiments/resnet34_upsample.yaml --data.root photos --data.size 224
  {PROGRAM} --config runs/cnn_unet/first/config.yaml --seed_everything 1

  --config FILE    an experiment, a fragment, or a run's config.yaml; later files override
                   earlier ones, and the command line overrides files
  --model.KEY      the task and its parts: --model.encoder ResNetEncoder
                   --model.encoder.depth 18, --model.loss experiments/loss/huber.yaml,
                   --model.optimizer.lr 1e-4; your own class: --model.loss mypackage.MyLoss
  --print_config   print the resulting configuration and exit
  --help all       every option, including the Trainer's
  --model.encoder.help ResNetEncoder
                   the options of a class

The most common options, with their defaults (`null`: none, or chosen automatically):"""


def main(words: list[str]) -> int:
    """Train; return the exit code."""
    if any(word in ("-h", "--help") for word in words):
        if words[-1] != "all":
            print(_USAGE, *common_options(), sep="\n")
            return 0
        words = ["--help"]
    is_named = any(word.startswith(("--config", "-c", "--model", "--help")) for word in words)
    if not is_named:
        raise UsageError(f"name an experiment: {PROGRAM} --config experiments/quickstart.yaml")
    from lightning_colorize.common.processes import is_first_process
    from lightning_colorize.runs.folder import begun_trial
    from lightning_colorize.runs.resuming import RunEnded
    from lightning_colorize.training.session import session

    if (folder := begun_trial()) is not None:
        return resume_run(folder)
    try:
        with session(words, PROGRAM) as cli:
            train(cli)
    except RunEnded as ended:
        if is_first_process():
            print(f"nothing to do: {ended}")
    return 0


def common_options() -> list[str]:
    """Return the help of the options in base.yaml, ours first: option, default, comment."""
    blocks: dict[str, list[str]] = {"data": [], "run": [], "trainer": []}
    groups: list[str] = []
    for line in (bundled("experiments") / "base.yaml").read_text(encoding="utf-8").splitlines():
        setting, _, comment = line.partition(" # ")
        indented, colon, default = setting.partition(":")
        if not colon or indented.startswith("#"):
            continue
        groups = [*groups[: (len(indented) - len(indented.lstrip())) // 2], indented.strip()]
        if default:
            option = f"--{'.'.join(groups)} {default.strip()}"
            blocks.setdefault(groups[0], []).append(f"  {option:<37} {comment}")
    return [line for block in blocks.values() for line in block]


def resume_run(folder: Path, overrides: Sequence[str] = ()) -> int:
    """Resume a run from its last intact checkpoint; return the exit code."""
    from lightning_colorize.runs.folder import CONFIG
    from lightning_colorize.training.session import session

    words = ["--config", str(folder / CONFIG), *overrides]
    with session(words, "lightning-colorize resume", folder) as cli:
        train(cli)
    return 0


def train(cli: "ColorizeCLI") -> None:
    """Fit, test the best checkpoint, and print the result."""
    from pytorch_lightning.callbacks import Timer

    from lightning_colorize.data.sources import EmbeddedSource
    from lightning_colorize.evaluation import print_result
    from lightning_colorize.models.checkpoint import read_intact
    from lightning_colorize.runs.folder import BEST, LAST
    from lightning_colorize.runs.result import RunResult

    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from, weights_only=True)
    if cli.best is None:
        return
    if cli.config_init.run.test and cli.datamodule.has("test"):
        cli.stop.stop_if_signaled()
        # `ckpt_path` would also restore that epoch's callbacks.
        if (cli.folder / BEST).is_file():
            try:
                _, checkpoint = read_intact(cli.folder, BEST, LAST)
            except UsageError as error:
                raise WorkError(f"not tested: {error}") from None
            cli.model.load_state_dict(checkpoint["state_dict"])
        cli.trainer.test(cli.model, cli.datamodule, verbose=False)
    result = RunResult.read(cli.folder)
    if cli.trainer.is_global_zero and result is not None:
        print_result(result, cli.folder, cli.model.metric_rows, counts=cli.datamodule.counts())
        callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
        timers = [each for each in callbacks if isinstance(each, Timer)]
        if any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers):
            resume = f"{COMMAND} resume {cli.folder} --trainer.max_time null"
            print(f"trainer.max_time ended the run; to train longer: {resume}")
        if isinstance(cli.datamodule.source, EmbeddedSource):
            print(
                "This run shows that all parts work. Its four photographs are too few to learn "
                "colors from: for a useful model, give --data.root FOLDER."
            )
