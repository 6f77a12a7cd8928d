"""`launch` with a stub of sbatch; the real one is in tests/slurm."""

import os
import re
import shlex
import signal
import stat
import sys
from pathlib import Path

import pytest

from lightning_colorize.cluster.batch import step

pytest.importorskip("submitit")

SCRIPTS = sorted((Path(__file__).parents[2] / "experiments" / "slurm").glob("*.sbatch"))

SBATCH = """#!/bin/sh
cp "$1" "{folder}/submitted"
echo "$SBATCH_EXPORT" > "{folder}/export"
if [ -e "{folder}/refuse" ]; then
  echo "sbatch: error: Batch job submission failed: Not today" >&2
  exit 1
fi
echo "Submitted batch job 42"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a stub of sbatch, which saves the submitted script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH.format(folder=folder), "sinfo": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def words(command):
    """Return the words after `fit` for a run of this name, except those that launch sets."""

    def words(name, *more):
        all_words = command.words(name, *more)
        at = all_words.index("--trainer.accelerator")
        return all_words[:at] + all_words[at + 2 :]

    return words


def test_the_batch_script(command, words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "no Slurm here"))
    resources = ["--nodes", 2, "--gpus", 4, "--time", "1-02:00:01", "--cpus", 8, "--mem", "64G"]
    resources += ["--partition", "gpu", "--sbatch", "constraint=a100", "--notice", 300, "--dry-run"]
    more = ["--data.crop_scale", "null", "--run.loggers.project", "a b"]
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
    unnamed = words("x")
    del unnamed[unnamed.index("--run.name") : unnamed.index("--run.name") + 2]
    assert command("launch", "--gpus", 0, "--time", 240, *unnamed) == 0
    out = capsys.readouterr().out
    (run,) = (command.root / "tiny").iterdir()
    assert re.search(r"^job +42; scancel 42 ends it", out, re.MULTILINE)
    assert f"log       {run}/slurm/42_0_log.out\n" in out
    assert f"run       {run}\n" in out
    script = (slurm / "submitted").read_text()
    assert script == (run / "slurm" / "42_submission.sh").read_text()
    assert f"--run.name {run.name} " in script
    assert "--trainer.devices 1 --trainer.accelerator cpu" in script
    assert "gpus" not in script
    assert "--ntasks-per-node=1\n" in script
    assert (slurm / "export").read_text() == "ALL\n"


def test_a_refused_job_leaves_no_files(command, words, slurm, capfd):
    (slurm / "refuse").touch()
    assert command("launch", "--time", 240, *words("refused")) == 2
    assert capfd.readouterr().err == "lightning-colorize: Slurm refuses the job: Not today\n"
    assert not command.root.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--time LIMIT is needed"),
        (["--time", "4h"], "--time 4h is no time"),
        (["--time", 6, "--notice", 240], "--time 6 is too short; give at least 7 min"),
        (["--time", 240, "--nodes", 0], "--nodes 0: it must be above 0"),
        (["--time", 240, "--gpus", -1], "--gpus -1: it must be 0 or more"),
        (["--time", 240, "--sbatch", "ntasks=3"], "--ntasks is chosen for you"),
        (["--time", 240, "--trainer.devices", 2], "--trainer.devices: leave it out, --gpus sets"),
        (
            ["--time", 240, "--run.auto_resume=false"],
            "--run.auto_resume: leave it out, it is always true",
        ),
    ],
)
def test_invalid_options_are_one_line(command, words, slurm, capsys, options, message):
    assert command("launch", *options, *words("wrong")) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (slurm / "submitted").exists()


def test_arguments_are_checked_before_submission(command, words, slurm, capsys):
    assert command("launch", "--time", 240, *words("wrong", "--data.sise", 64)) == 2
    assert "did you mean data.size?" in capsys.readouterr().err
    assert command("launch", "--time", 240, *words("wrong", "--data.root", "/nowhere")) == 2
    assert "--data.root: /nowhere" in capsys.readouterr().err
    assert not command.root.exists()
    assert not (slurm / "submitted").exists()


def test_an_existing_run_is_checked_before_submission(command, words, slurm, capsys):
    quick = ("--trainer.max_epochs", 1, "--run.grid_images", 0)
    # The settings that a job saves.
    sizes = ("--trainer.num_nodes", 1, "--trainer.devices", 1, "--trainer.accelerator", "cpu")
    run = command.fit("existing", *quick, *sizes)
    on_cpu = ("launch", "--gpus", 0, "--time", 240)
    assert command(*on_cpu, *words("existing", *quick)) == 0
    assert f"nothing to do: {run} is finished" in capsys.readouterr().out
    assert command(*on_cpu, *words("existing", *quick, "--data.size", 48)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--data.size 48 (the run has 32)" in err
    assert not (slurm / "submitted").exists()


def test_without_slurm_or_submitit(command, words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("launch", "--time", 240, *words("nowhere")) == 2
    assert "launch: there is no sbatch here; call it on a login node" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert command("launch", "--time", 240, *words("nowhere")) == 2
    err = capsys.readouterr().err
    assert "launch needs submitit: pip install '.[cluster]'" in err
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
