"""Workers on a cluster whose commands are stubs; a real one is in tests/slurm."""

import os
import re
import signal
import sys
from dataclasses import replace
from itertools import count

import pytest

from lightning_colorize.cluster import queue
from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import batch_script, launch_workers
from lightning_colorize.sweeps.worker import IN_JOB, main
from tests.conftest import until
from tests.slurm.stub import Slurm
from tests.sweeps.conftest import states

submitit = pytest.importorskip("submitit")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    cluster = Slurm(tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.05)
    monkeypatch.setattr(launch, "_QUERY_EVERY", 0.1)
    return cluster


@pytest.fixture
def follow(cluster):
    """Launch workers; return the exit code and what was printed."""

    def follow(study, workers=1, tick=lambda lines: None):
        lines = []
        return launch_workers(study, workers, None, lambda: tick(lines), lines.append), lines

    return follow


def script_of(engine, **options):
    return batch_script(engine.folder / "runs/tiny", Resources(**options))


def test_the_batch_script(engine, monkeypatch):
    monkeypatch.setenv("PATH", str(engine.folder / "no Slurm here"))
    given = {"partition": "long", "gpus": 2, "cpus": 8, "mem": "16G", "account": "us", "qos": "low"}
    extra = {"exclusive": True, "mail_user": "me"}
    script = script_of(engine, time="1-02:00:01", extra=extra, **given)
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    folder = engine.folder / "runs/tiny/slurm"
    log = f"{folder}/%j_0_log.out"
    assert options == {
        *("--job-name=tiny", "--partition=long", "--time=1561", "--gpus-per-node=2"),
        *("--cpus-per-task=8", "--mem=16G", "--account=us", "--qos=low"),
        *("--exclusive", "--mail-user=me", "--nodes=1", "--ntasks=1", "--requeue"),
        *("--signal=B:USR2@90", f"--output={log}", "--open-mode=append"),
    }
    # Nothing between Slurm's signals and the worker: neither a shell nor srun.
    worker = f"exec {sys.executable} -m lightning_colorize.sweeps.worker tiny --in-job"
    assert lines[-1] == worker
    assert "srun" not in script
    assert script_of(engine, gpus=0).endswith(f"\nexport CUDA_VISIBLE_DEVICES=\n{worker}\n")
    assert list(engine.folder.iterdir()) == [engine.stub]


def test_options_that_were_not_given_are_the_clusters(engine):
    script = script_of(engine, time=240)
    assert "#SBATCH --time=240\n" in script
    for option in ("partition", "gpus", "cpus", "mem", "account", "qos", "wckey"):
        assert f"--{option}" not in script
    with pytest.raises(UsageError, match="--time 00:04:00 is too short"):
        script_of(engine, time="00:04:00")


def test_a_refused_job_cancels_the_others(engine, cluster, capfd):
    cluster.enable("refuse 13")
    with pytest.raises(UsageError, match="Slurm refuses the job: Not today") as error:
        launch_workers(engine.study({"x": 1}), 3)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    assert cluster.calls("scancel") == ["12"]


def test_jobs_are_followed_until_all_trials_have_ended(engine, cluster, follow):
    study = engine.study({"x": [1, 2]})

    def tick(lines):
        (cluster.folder / "12.job").write_text("RUNNING")
        if "job 12: running on n1" in lines and states(study) == []:
            assert engine.work(study) == 0

    code, lines = follow(study, 2, tick)
    assert code == 0
    assert lines[0] == f"submitted 12, 13; logs in {study.folder}/slurm"
    assert {"job 12: running on n1", "job 13: pending (Priority)"} <= set(lines)
    assert cluster.calls("scancel") == ["--state=PENDING 12 13"]


def test_the_password_is_in_no_file_and_no_argument(engine, cluster, follow, capfd):
    study = replace(engine.study({"x": 1}), url="postgresql://me:hush@elsewhere/sweeps")
    code, lines = follow(study, 2, lambda lines: cluster.end())
    assert code == 1
    environment = (cluster.folder / "environment").read_text()
    assert f"'LIGHTNING_COLORIZE_STUDY': '{study.url}'" in environment
    assert "'SBATCH_EXPORT': 'ALL'" in environment
    # Set only for the jobs.
    assert "LIGHTNING_COLORIZE_STUDY" not in os.environ
    assert os.environ["SBATCH_EXPORT"] == "NONE"
    files = [path.read_text() for path in (study.folder / "slurm").iterdir()]
    assert files
    assert "hush" not in "".join([*lines, *cluster.calls("sbatch"), *files, *capfd.readouterr()])


def test_a_stopped_sweep_is_followed_until_its_jobs_have_ended(engine, cluster, follow):
    study = engine.study({"x": [1, 2]})
    code, lines = follow(study, tick=lambda lines: study.stop())
    assert code == 0
    assert cluster.calls("scancel") == ["--state=PENDING 12"]
    assert not any("no job is left" in line for line in lines)


def test_jobs_that_end_early_are_reported_once_slurm_answers(engine, cluster, follow):
    study, ticks = engine.study({"x": 1}), count(1)
    broken = cluster.folder / "broken squeue"

    def tick(lines):
        match next(ticks):
            case 10:
                broken.touch()
            case 20:
                cluster.end()
                assert not any("has ended" in line for line in lines)
            case 40:
                broken.unlink()

    code, lines = follow(study, 2, tick)
    assert code == 1
    ended = [f"job {n} has ended; its log: {study.folder}/slurm/{n}_0_log.out" for n in (12, 13)]
    assert sorted(lines[1:3]) == ["job 12: pending (Priority)", "job 13: pending (Priority)"]
    assert lines[3:] == [
        "Slurm does not answer (no); trying again",
        *ended,
        "no job is left, but trials are; resume them with sweep resume",
    ]


def test_a_slurm_that_hangs_does_not_answer(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "_TIMEOUT", 0.1)
    (cluster.folder / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    messages = []
    assert queue.Queue({"12": tmp_path / "log"}, messages.append).check()
    assert messages == ["Slurm does not answer (no answer within 0.1 s); trying again"]


def test_ctrl_c_leaves_the_jobs(engine, cluster, follow):
    study = engine.study({"x": 1})

    def tick(lines):
        if any("pending" in line for line in lines):
            signal.raise_signal(signal.SIGINT)

    code, lines = follow(study, 2, tick)
    assert code == 130
    assert not cluster.calls("scancel")
    assert f"sweep stop {study.folder} lets" in lines[-1]
    assert "scancel 12 13 interrupts" in lines[-1]


@pytest.fixture
def start_job(engine, monkeypatch):
    """Start an allocated worker, without the cluster."""
    for name, value in {
        **{"SLURM_JOB_ID": "34", "SLURM_JOB_NAME": "tiny", "SLURM_NTASKS": "1"},
        **{"SLURM_NPROCS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
    }.items():
        monkeypatch.setenv(name, value)

    def start(study):
        monkeypatch.setenv("LIGHTNING_COLORIZE_STUDY", study.url)
        monkeypatch.setattr(sys, "argv", ["worker", study.sweep.name, IN_JOB])
        return engine.fork(lambda: sys.exit(main()))

    return start


@pytest.mark.parametrize(
    ("number", "fails"),
    [(signal.SIGTERM, False), (signal.SIGUSR2, False), (signal.SIGUSR2, True)],
)
def test_a_terminated_job_returns_its_trial(engine, cluster, start_job, capfd, number, fails):
    if fails:
        cluster.enable("broken scontrol")
    study = engine.study({"x": 1, "epochs": 200, "seconds": 0.05})
    job = start_job(study)
    until(lambda: len(engine.validations(study, 0)) > 1)
    job.signal(number)
    assert job.wait(30) == (1 if fails else 143)
    assert cluster.calls("scontrol") == (["requeue 34"] if number == signal.SIGUSR2 else [])
    refusal = "job 34 is not requeued: scontrol: error: nonsense\nscontrol: error: no\n"
    assert capfd.readouterr().err == (refusal if fails else "")
    assert states(study) == ["waiting"]
    assert len(engine.starts(study, 0)) == 1


def test_a_trial_does_not_see_srun_variables(engine, start_job):
    printing = "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    command = [sys.executable, "-SE", "-c", printing, "${args}"]
    study = engine.study({"x": 1}, command=command)
    assert start_job(study).wait(30) == 0
    printed = (study.folder_of(0) / "output.log").read_text()
    slurms = dict(re.findall(r"^(SLURM_\w+)=(.*)$", printed, re.MULTILINE))
    assert slurms == {"SLURM_JOB_ID": "34"}  # by which the worker is requeued
