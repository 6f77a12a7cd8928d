"""Workers on a cluster whose commands are stubs; a real one is in tests/slurm."""

import os
import signal
import sys
from itertools import count
from pathlib import Path

import pytest

from lightning_colorize.cluster import queue
from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import WorkerOptions, preview, run_workers, workers_of
from lightning_colorize.sweeps.worker import main
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
def follow(cluster, capfd):
    """Launch workers; return the exit code and what was printed."""

    def follow(study, workers=1, tick=lambda: None, url=None):
        options = WorkerOptions(workers, slurm=Resources())
        jobs = workers_of(study.sweep.name, study.folder, options, url or study.url)
        code = run_workers(jobs, tick, study.is_over)
        return code, capfd.readouterr().out.splitlines()

    return follow


def script_of(engine, **options):
    options = WorkerOptions(3, slurm=Resources(**options))
    return preview(workers_of("tiny", engine.folder / "runs/tiny", options), [])


def test_the_batch_script(engine, monkeypatch):
    monkeypatch.setenv("PATH", str(engine.folder / "no Slurm here"))
    given = {"partition": "long", "gpus": 2, "cpus": 8, "mem": "16G", "account": "us", "qos": "low"}
    extra = {"exclusive": True, "mail_user": "me"}
    script = script_of(engine, time="1-02:00:01", extra=extra, **given)
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    log = f"{engine.folder}/runs/tiny/slurm/%A_%a_0_log.out"
    assert options == {
        *("--job-name=tiny", "--partition=long", "--time=1561", "--gpus-per-node=2"),
        *("--cpus-per-task=8", "--mem=16G", "--account=us", "--qos=low", "--array=0-2%3"),
        *("--exclusive", "--mail-user=me", "--nodes=1", "--ntasks=1", "--requeue"),
        *("--signal=B:USR2@90", f"--output={log}", "--open-mode=append", f"--chdir={Path.cwd()}"),
    }
    # Nothing between Slurm's signals and the worker: neither a shell nor srun.
    worker = f"exec {sys.executable} -m lightning_colorize.sweeps.worker tiny"
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


def test_jobs_are_followed_until_they_have_ended(engine, cluster, follow):
    study = engine.study({"x": [1, 2]})

    def tick():
        (cluster.folder / "12.job").write_text("RUNNING")
        if cluster.calls("squeue") and not study.all_ended():
            assert engine.work(study) == 0
        if cluster.calls("scancel"):
            cluster.end()

    code, lines = follow(study, 2, tick)
    assert code == 0
    assert lines[0] == f"submitted 12; logs in {study.folder}/slurm"
    assert {"job 12_0: running on n1", "job 12_1: running on n1"} <= set(lines)
    # All trials have ended: no more jobs are needed.
    assert cluster.calls("scancel") == ["--state=PENDING 12_0 12_1"]


def test_the_password_is_in_no_file_and_no_argument(engine, cluster, follow):
    study, url = engine.study({"x": 1}), "postgresql://me:hush@elsewhere/sweeps"
    code, lines = follow(study, 2, cluster.end, url)
    assert code == 0
    environment = (cluster.folder / "environment").read_text()
    assert f"'LIGHTNING_COLORIZE_STUDY': '{url}'" in environment
    assert "'SBATCH_EXPORT': 'ALL'" in environment
    # Set only for the jobs.
    assert "LIGHTNING_COLORIZE_STUDY" not in os.environ
    assert os.environ["SBATCH_EXPORT"] == "NONE"
    files = [path.read_text() for path in (study.folder / "slurm").iterdir()]
    assert files
    assert "hush" not in "".join([*lines, *cluster.calls("sbatch"), *files])


def test_a_slurm_that_does_not_answer_is_asked_again(engine, cluster, follow):
    study, ticks = engine.study({"x": 1}), count(1)
    broken = cluster.folder / "broken squeue"

    def tick():
        match next(ticks):
            case 10:
                broken.touch()
            case 20:
                cluster.end()
            case 40:
                broken.unlink()

    _, lines = follow(study, 2, tick)
    log = f"{study.folder}/slurm/12_"
    ended = [f"job 12_{n} has ended; its log: {log}{n}_0_log.out" for n in (0, 1)]
    assert lines[-3:] == ["Slurm does not answer (no); trying again", *ended]


def test_a_slurm_that_hangs_does_not_answer(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "_TIMEOUT", 0.1)
    (cluster.folder / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    messages = []
    assert queue.Queue({"12": tmp_path / "log"}, messages.append).check()
    assert messages == ["Slurm does not answer (no answer within 0.1 s); trying again"]


def test_ctrl_c_leaves_the_jobs(engine, cluster, follow):
    def tick():
        if cluster.calls("squeue"):
            signal.raise_signal(signal.SIGINT)

    code, lines = follow(engine.study({"x": 1}), tick=tick)
    assert code == 130
    assert not cluster.calls("scancel")
    assert lines[-1] == "the jobs continue; scancel 12 interrupts their trials"


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
        monkeypatch.setattr(sys, "argv", ["worker", study.sweep.name])
        return engine.fork(lambda: sys.exit(main()))

    return start


@pytest.mark.parametrize(
    ("number", "fails"), [(signal.SIGTERM, False), (signal.SIGUSR2, False), (signal.SIGUSR2, True)]
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
