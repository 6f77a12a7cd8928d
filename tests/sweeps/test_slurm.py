"""Workers on a cluster whose commands are stubs; a real one is in tests/slurm."""

import multiprocessing
import os
import re
import signal
import stat
import sys
import textwrap
import threading
from dataclasses import replace

import pytest

from lightning_colorize.cluster import queue
from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import AllocatedWorker, batch_script, launch_workers
from lightning_colorize.sweeps.status import rows

submitit = pytest.importorskip("submitit")

# The part of Slurm that the launcher uses. Jobs run at once, unless there is a file `busy`.
STUB = """
import os, re, subprocess, sys
from pathlib import Path

here = Path(__file__).parent
name = Path(sys.argv[0]).name
with (here / "calls").open("a") as calls:
    print(name, *sys.argv[1:], file=calls)

def job(number, script, environment):
    (here / f"{number}.sh").write_text(script)
    (here / f"{number}.job").write_text("PENDING")
    if (here / "busy").exists():
        return
    (here / f"{number}.job").write_text("RUNNING")
    log = re.search(r"--output=(\\S+)", script)[1].replace("%j", number)
    whole = os.environ["SBATCH_EXPORT"] == "ALL"
    kept = os.environ if whole else {"PATH": os.environ["PATH"]}
    subprocess.Popen(
        ["bash", "-c", f"bash {here}/{number}.sh; rm {here}/{number}.job"],
        env={**kept, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", **environment},
        stdin=subprocess.DEVNULL, stdout=open(log, "a"), stderr=subprocess.STDOUT,
        start_new_session=True,
    )

def sbatch():
    number = str(len(list(here.glob("*.script"))) + 12)
    if (here / f"refuse {number}").exists():
        sys.exit("sbatch: error: nonsense\\nsbatch: error: Batch job submission failed: Not today")
    script = Path(sys.argv[1]).read_text()
    (here / f"{number}.script").write_text(script)
    (here / "study_url").write_text(os.environ["LIGHTNING_COLORIZE_STUDY"])
    job(number, script, {"SLURM_JOB_ID": number})
    print("Submitted batch job", number)

def squeue():
    for file in here.glob("*.job"):
        state = file.read_text()
        print(file.stem, state, "Priority", "n1" if state == "RUNNING" else "", sep="|")
    print("777|RUNNING|None|n2")

def scancel():
    for number in sys.argv[1:]:
        for file in here.glob(f"{number}*.job"):
            if file.read_text() == "PENDING":
                file.unlink()

def scontrol():
    if (here / "broken").exists():
        sys.exit("slurm_requeue error: no")

def srun():
    sys.exit("srun must not be called")

globals()[name]()
"""


class Slurm:
    """Stubs of Slurm's commands.

    Attributes:
        folder: Folder of the stubs.
    """

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -SE\n{textwrap.dedent(STUB)}")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def enable(self, flag):
        """Let the stubs behave differently: `busy`, `broken`, `refuse NUMBER`."""
        (self.folder / flag).touch()

    def calls(self, name):
        """Return the words with which a command was called."""
        if not (self.folder / "calls").exists():
            return []
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.removeprefix(name).strip() for line in lines if line.split()[0] == name]

    def scripts(self):
        return [path.read_text() for path in sorted(self.folder.glob("*.script"))]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    cluster = Slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(cluster.folder), prepend=os.pathsep)
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.05)
    monkeypatch.setattr(launch, "_QUERY_EVERY", 0.1)
    yield cluster
    for job in cluster.folder.glob("*.job"):
        job.unlink(missing_ok=True)  # a job removes its own file at its end


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
    assert lines[-1] == f"exec {sys.executable} -u -m submitit.core._submit {folder}"
    assert "srun" not in script
    assert list(engine.folder.iterdir()) == [engine.stub]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [(240, 240), ("04:00:00", 240), ("0:05:01", 6), ("2-00:00:00", 2880)],
)
def test_time_limits_without_options_that_were_not_given(engine, limit, minutes):
    script = script_of(engine, time=limit)
    assert f"#SBATCH --time={minutes}\n" in script
    for option in ("partition", "gpus", "cpus", "mem", "account", "qos", "wckey"):
        assert f"--{option}" not in script


def test_a_time_limit_that_leaves_no_time_is_refused(engine):
    with pytest.raises(UsageError, match="--time 00:04:00 is too short; give at least 5 min"):
        script_of(engine, time="00:04:00")


def test_a_refused_job_cancels_the_others(engine, cluster, capfd):
    cluster.enable("busy")
    cluster.enable("refuse 13")
    with pytest.raises(UsageError, match="Slurm refuses the job: Not today") as error:
        launch_workers(engine.study({"x": 1}), 3)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    assert cluster.calls("scancel") == ["12"]
    assert not list(cluster.folder.glob("*.job"))


def test_jobs_run_all_trials(engine, cluster):
    study = engine.study({"x": [1, 2, 3], "seconds": 0.2})
    messages, ticks = [], []
    assert launch_workers(study, 2, None, lambda: ticks.append(1), messages.append) == 0
    assert [row.state for row in rows(study)] == ["finished"] * 3
    assert [len(engine.finishes(study, number)) for number in range(3)] == [1] * 3
    assert messages[0] == f"submitted 12, 13; logs in {study.folder}/slurm"
    assert {"job 12: running on n1", "job 13: running on n1"} <= set(messages)
    assert len(ticks) > 3
    # Set only for the jobs.
    assert "LIGHTNING_COLORIZE_STUDY" not in os.environ
    assert os.environ["SBATCH_EXPORT"] == "NONE"


def test_the_password_is_in_no_file_and_no_argument(engine, cluster, capfd):
    cluster.enable("busy")
    study = replace(engine.study({"x": 1}), url="postgresql://me:hush@elsewhere/sweeps")
    messages = []

    def tick():
        for job in cluster.folder.glob("*.job"):
            job.unlink()

    assert launch_workers(study, 2, tick=tick, say=messages.append) == 1
    assert (cluster.folder / "study_url").read_text() == study.url
    text = "".join([*messages, *cluster.calls("sbatch"), *cluster.scripts(), *capfd.readouterr()])
    assert "hush" not in text
    pickles = list((study.folder / "slurm").glob("*.pkl"))
    assert len(pickles) == 2
    assert not any(b"elsewhere" in path.read_bytes() for path in pickles)


def test_pending_jobs_are_canceled_when_all_trials_have_ended(engine, cluster):
    cluster.enable("busy")
    study = engine.study({"x": [1, 2]})
    assert engine.work(study) == 0
    assert launch_workers(study, 2) == 0
    assert cluster.calls("scancel") == ["--state=PENDING 12 13"]
    assert not list(cluster.folder.glob("*.job"))


def test_a_stopped_sweep_is_followed_until_its_jobs_have_ended(engine, cluster):
    cluster.enable("busy")
    study = engine.study({"x": [1, 2]})
    messages = []
    assert launch_workers(study, 1, tick=study.stop, say=messages.append) == 0
    assert cluster.calls("scancel") == ["--state=PENDING 12"]
    assert not any("no job is left" in line for line in messages)


def test_jobs_that_end_early_are_reported(engine, cluster):
    study = engine.study({"x": 1})
    cluster.enable("busy")
    messages = []

    def tick():
        if any("pending" in line for line in messages):
            (cluster.folder / "12.job").unlink(missing_ok=True)

    assert launch_workers(study, 1, tick=tick, say=messages.append) == 1
    assert messages[1:] == [
        "job 12: pending (Priority)",
        f"job 12 has ended; its log: {study.folder}/slurm/12_0_log.out",
        "no job is left, but trials are; resume them with sweep resume",
    ]


def test_an_outage_of_slurm_is_survived(engine, cluster):
    cluster.enable("busy")
    study = engine.study({"x": 1})
    squeue = cluster.folder / "squeue"
    messages, ticks = [], []

    def tick():
        ticks.append(1)
        if len(ticks) == 2:
            squeue.rename(cluster.folder / "saved")
            squeue.write_text("#!/bin/sh\necho 'squeue: error: down' >&2\nexit 1\n")
            squeue.chmod(0o755)
        if len(ticks) == 20:
            (cluster.folder / "saved").rename(squeue)
            (cluster.folder / "12.job").unlink()
        if len(ticks) == 40:
            study.stop()

    assert launch_workers(study, 2, tick=tick, say=messages.append) == 0
    assert messages.count("Slurm does not answer (down); trying again") == 1
    # Not while Slurm did not answer.
    assert [line for line in messages if "has ended" in line] == [
        f"job {job} has ended; its log: {study.folder}/slurm/{job}_0_log.out" for job in (12, 13)
    ]


def test_a_slurm_that_hangs_does_not_answer(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "_TIMEOUT", 0.1)
    squeue = cluster.folder / "squeue"
    squeue.write_text("#!/bin/sh\nexec sleep 60\n")
    messages = []
    assert queue.Queue({"12": tmp_path / "log"}, messages.append).check()
    assert messages == ["Slurm does not answer (no answer within 0.1 s); trying again"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_the_jobs(engine, cluster, number, code):
    cluster.enable("busy")
    study = engine.study({"x": 1})
    messages = []

    def tick():
        if any("pending" in line for line in messages):
            threading.Thread(target=os.kill, args=(os.getpid(), number)).start()

    assert launch_workers(study, 2, tick=tick, say=messages.append) == code
    assert not cluster.calls("scancel")
    assert len(list(cluster.folder.glob("*.job"))) == 2
    assert f"sweep stop {study.folder} lets" in messages[-1]
    assert "scancel 12 13 interrupts" in messages[-1]


# A job in its own process, without the cluster.


class Job:
    """An allocated worker in a forked process."""

    def __init__(self, study, monkeypatch, sees_gpus=True):
        for name, value in {
            "LIGHTNING_COLORIZE_STUDY": study.url,
            **{"SLURM_JOB_ID": "34", "SLURM_JOB_NAME": "tiny", "SLURM_NTASKS": "1"},
            **{"SLURM_NPROCS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
        }.items():
            monkeypatch.setenv(name, value)
        target = AllocatedWorker(study.sweep.name, sees_gpus)
        self.process = multiprocessing.get_context("fork").Process(target=target)
        self.process.start()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def code(self):
        self.process.join(30)
        return self.process.exitcode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


@pytest.mark.parametrize(
    ("number", "requeued", "fails"),
    [
        (signal.SIGTERM, [], False),
        (signal.SIGUSR2, ["requeue 34"], False),
        (signal.SIGUSR2, ["requeue 34"], True),
    ],
)
def test_a_terminated_job_returns_its_trial(
    engine, cluster, monkeypatch, capfd, number, requeued, fails
):
    if fails:
        cluster.enable("broken")
    study = engine.study({"x": 1, "epochs": 200, "seconds": 0.05})
    with Job(study, monkeypatch) as job:
        engine.until(lambda: len(engine.validations(study, 0)) > 1)
        job.signal(number)
        assert job.code() == (1 if fails else 143)
    assert cluster.calls("scontrol") == requeued
    refusal = "job 34 is not requeued: slurm_requeue error: no\n"
    assert capfd.readouterr().err == (refusal if fails else "")
    assert [row.state for row in rows(study)] == ["waiting"]
    assert len(engine.starts(study, 0)) == 1


@pytest.mark.parametrize(("sees_gpus", "expected"), [(True, "3,4"), (False, "")])
def test_a_trial_does_not_see_srun_variables(engine, monkeypatch, sees_gpus, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    printing = "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    command = [sys.executable, "-SE", "-c", printing, "${args}"]
    study = engine.study({"x": 1}, command=command)
    with Job(study, monkeypatch, sees_gpus) as job:
        assert job.code() == 0
    printed = (study.folder_of(0) / "output.log").read_text()
    slurms = dict(re.findall(r"^(SLURM_\w+)=(.*)$", printed, re.MULTILINE))
    assert slurms == {"SLURM_JOB_ID": "34", "SLURM_JOB_NAME": "tiny"}
    assert f"CUDA_VISIBLE_DEVICES={expected}\n" in printed
