"""`launch` with a stub of sbatch; the real one is in tests/slurm."""

import re
import shlex
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from lightning_colorize.cluster.batch import step
from tests.slurm.stub import Slurm

pytest.importorskip("submitit")

SCRIPTS = sorted((Path(__file__).parents[2] / "experiments" / "slurm").glob("*.sbatch"))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    return Slurm(tmp_path / "bin", monkeypatch)


@pytest.fixture
def words(command):
    """Return the words after `fit` for a run of this name, except those that launch sets."""
    return partial(command.words, without=["--trainer.accelerator"])


def test_the_batch_script(command, words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "no Slurm here"))
    resources = ["--nodes", 2, "--gpus", 4, "--time", "1-02:00:01", "--cpus", 8, "--mem", "64G"]
    resources += ["--partition", "gpu", "--sbatch", "constraint=a100", "--notice", 300, "--dry-run"]
    more = ["--data.augmentation.crop_scale", "null", "--run.loggers.project", "a b"]
    assert command("launch", *resources, *words("mine", *more)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    run = command.root / "tiny" / "mine"
    assert options == {
        *("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8"),
        *("--time=1561", "--mem=64G", "--partition=gpu", "--constraint=a100"),
        *("--signal=USR1@300", "--requeue", "--open-mode=append", "--job-name=tiny-mine"),
        f"--output={run}/slurm/%j_0_log.out",
    }
    (srun,) = [line for line in lines if line.startswith("srun")]
    program = [sys.executable, "-m", "lightning_colorize", "fit"]
    called = shlex.split(srun)
    at = called.index(sys.executable)
    # An ended task does not kill those still writing; a step does not inherit its job's cores.
    assert called[1:at] == ["--kill-on-bad-exit=0", "--wait=300", "--cpus-per-task=8"]
    assert called[at : at + 4] == program
    assert called[at + 4 :] == [
        *words("mine", *more),
        *("--trainer.num_nodes", "2", "--trainer.devices", "4", "--trainer.accelerator", "gpu"),
        *("--run.auto_resume", "true"),
    ]
    # Only a run that wrote its checkpoint because of the time limit is requeued.
    assert f"if [ $code -eq {128 + signal.SIGUSR1} ]; then" in lines
    assert not command.root.exists()


def test_a_job_is_submitted_and_reported(command, words, slurm, capsys):
    # A run without a name gets one, which its restarts share.
    unnamed = words("x", without=["--trainer.accelerator", "--run.name"])
    assert command("launch", "--gpus", 0, "--time", 240, *unnamed) == 0
    out = capsys.readouterr().out
    (run,) = (command.root / "tiny").iterdir()
    assert re.search(r"^job +12; scancel 12 ends it", out, re.MULTILINE)
    assert f"log       {run}/slurm/12_0_log.out\n" in out
    assert f"run       {run}\n" in out
    script = (slurm.folder / "12.script").read_text()
    assert script == (run / "slurm" / "12_submission.sh").read_text()
    assert f"--run.name {run.name} " in script
    assert "--trainer.devices 1 --trainer.accelerator cpu" in script
    assert "gpus" not in script
    assert "--ntasks-per-node=1\n" in script
    assert "'SBATCH_EXPORT': 'ALL'" in (slurm.folder / "environment").read_text()


def test_a_refused_job_leaves_no_files(command, words, slurm, capfd):
    slurm.enable("refuse 12")
    assert command("launch", "--time", 240, *words("refused")) == 2
    assert capfd.readouterr().err == "lightning-colorize: Slurm refuses the job: Not today\n"
    assert not command.root.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--time LIMIT is needed"),
        (["--time", "4h"], "--time 4h is not a time"),
        (["--time", 6, "--notice", 240], "--time 6 is too short; give at least 7 min"),
        (["--time", 240, "--nodes", 0], "--nodes: 0 must be at least 1"),
        (["--time", 240, "--sbatch", "ntasks=3"], "--ntasks is chosen for you"),
        (["--time", 240, "--trainer.devices", 2], "--trainer.devices: remove it, --gpus sets"),
        (["--time", 240, "--run.auto_resume=false"], "--run.auto_resume: remove it, it is"),
        (["--time", 240, "--data.sise", 64], "--data.sise 64"),
        (["--time", 240, "--data.root", "/nowhere"], "--data.root: /nowhere"),
    ],
)
def test_invalid_options_submit_nothing(command, words, slurm, capsys, options, message):
    assert command("launch", *words("wrong"), *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1 or "\naccepted: " in err
    assert not slurm.calls("sbatch")
    assert not command.root.exists()


def test_an_existing_run_is_checked_before_submission(command, words, slurm, capsys, error_of):
    quick = ("--trainer.max_epochs", 1, "--run.grid_images", 0)
    # The settings that a job saves.
    sizes = ("--trainer.num_nodes", 1, "--trainer.devices", 1, "--trainer.accelerator", "cpu")
    run = command.fit("existing", *quick, *sizes)
    on_cpu = ("launch", "--gpus", 0, "--time", 240)
    assert command(*on_cpu, *words("existing", *quick)) == 0
    assert f"nothing to do: {run} is finished" in capsys.readouterr().out
    other = words("existing", *quick, "--data.size", 48)
    assert "--data.size 48 (the run has 32)" in error_of(*on_cpu, *other)
    assert not slurm.calls("sbatch")


def test_without_slurm(command, words, error_of, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    called = ("launch", "--time", 240, *words("nowhere"))
    assert "launch: sbatch not found; run this on a login node" in error_of(*called)
    assert not command.root.exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_scripts_match_launch(parser, script):
    text = script.read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=([^ \n]+))?", text, re.MULTILINE))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"] == "USR1@120"
    assert {"requeue", "open-mode", "cpus-per-task", "time", "output"} <= set(options)
    command = re.search(r"^srun .*?(?=\ncode=)", text, re.MULTILINE | re.DOTALL)[0]
    called = shlex.split(command.replace("\\\n", " "))
    at = called.index("lightning-colorize")
    # The lines around the command are identical.
    flags = [flag for flag in called[1:at] if not flag.startswith("--cpus-per-task")]
    ours = step(["X"], None)
    assert shlex.split(ours.splitlines()[0]) == ["srun", *flags, "X"]
    assert text.endswith(ours.partition("\n")[2] + "\n")
    # The arguments are those of fit, with the sizes of the job.
    assert called[at + 1] == "fit"
    sizes = {"$SLURM_NNODES": options["nodes"], "$SLURM_NTASKS_PER_NODE": options["gpus-per-node"]}
    words = [sizes.get(word, word) for word in called[at + 2 :] if word != "$@"]
    config = parser.parse_args(words)
    assert config.run.auto_resume
    assert config.trainer.num_nodes == int(options["nodes"])
    assert str(config.trainer.devices) == options["gpus-per-node"]
