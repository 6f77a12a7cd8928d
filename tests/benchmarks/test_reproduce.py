import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import reproduce
import yaml

from lightning_colorize.runs import folder as run_folder
from tests.conftest import until
from tests.data.sources.conftest import touch

# A benchmark writes beside itself; it fails once if it is told to.
SCRIPT = """
import json, os, sys
from pathlib import Path

here = Path(__file__).parent
assert sorted(path.name for path in (here.parent / "experiments").iterdir()) == ["x.yaml"]
with open("calls.txt", "a") as file:
    print(*sys.argv[1:], os.environ.get("WIDTH"), file=file)
if sys.argv[1] == "fail" and not Path("failed").exists():
    Path("failed").touch()
    sys.exit(3)
psnr = float(Path(sys.argv[2]).read_text())
report = {"command": "x", "psnr": psnr, "seconds": 7.0, "environment": {"cpu": "new"}}
(here / "results" / "toy.json").write_text(json.dumps(report))
(here.parent / "docs" / "images" / "toy.txt").write_text("drawn")
"""
PLAN = {
    "data": ["weights.txt"],
    "minutes": 3,
    "machine": False,
    "commands": ["WIDTH=3 python benchmarks/toy.py all data/weights.txt"],
    "figures": {"psnr": {"absolute": 0.1}, "seconds": "shown"},
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with the table `toy`, and the place in which the command is called."""
    root = tmp_path / "clone"
    for folder in ("benchmarks/reproduce", "benchmarks/results", "experiments", "docs/images"):
        (root / folder).mkdir(parents=True)
    (root / "experiments/x.yaml").touch()
    (root / "benchmarks/toy.py").write_text(SCRIPT)
    (root / "docs/images/toy.txt").write_text("committed")
    (root / "weights.txt").write_text("22.05")
    data = {"weights.txt": {"sha256": sha256("22.05"), "about": "the weights"}}
    (root / "benchmarks/data.yaml").write_text(yaml.safe_dump(data))
    expected = {"command": "x", "psnr": 22.0, "seconds": 1.0, "environment": {"cpu": "old"}}
    (root / "benchmarks/results/toy.json").write_text(json.dumps(expected))
    write_plan(root)
    monkeypatch.setattr(reproduce, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    return root


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def write_plan(root, **changes):
    (root / "benchmarks/reproduce/toy.yaml").write_text(yaml.safe_dump(PLAN | changes))


@pytest.fixture
def refused(tmp_path, capsys):
    """Call the script, which must refuse in one line; returns the line."""

    def call_(*words):
        assert call(*words) == 2
        line = capsys.readouterr().err
        assert line.startswith("reproduce: ")
        assert line.count("\n") == 1
        return line

    return call_


def call(*words):
    return reproduce.main([str(word) for word in words])


def with_data(root):
    return ("toy", "--data", f"weights.txt={root / 'weights.txt'}")


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_figures_are_exit_code_0_and_the_clone_is_not_touched(clone, tmp_path, capfd):
    before = contents(clone)
    assert call(*with_data(clone)) == 0
    assert contents(clone) == before
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["psnr", "22", "22.05", "0.1", "yes"] in lines
    assert ["seconds", "1", "7", "-", "-"] in lines
    assert ["environment:", "cpu:", "old,", "now", "new"] in lines
    assert lines[-1][:3] == ["toy:", "same:", "1"]
    folder = tmp_path / "reproduced/toy"
    assert (folder / "docs/images/toy.txt").read_text() == "drawn"
    assert (folder / "calls.txt").read_text() == "all data/weights.txt 3\n"


def test_other_figures_are_exit_code_1_and_named(clone, capfd):
    write_plan(clone, figures={"psnr": {"absolute": 0.04}})
    assert call(*with_data(clone)) == 1
    *_, psnr, seconds, _, verdict = capfd.readouterr().out.splitlines()
    assert psnr.split() == ["psnr", "22", "22.05", "0.04", "NO"]
    assert seconds.split() == ["seconds", "1", "7", "0", "NO"]
    assert verdict.startswith("toy: NOT the same: 2 of 2 figures")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no table nothing; tables are toy"),
        (["toy"], "toy needs --data weights.txt=PATH: the weights"),
        (["toy", "--data", "weights.txt"], "--data weights.txt: give NAME=PATH"),
        (["toy", "--data", "weights.txt=gone"], "gone cannot be read: No such file or directory"),
        (["toy", "--data", "weights.txt=links"], "links/a/b.jpg cannot be read: No such file"),
        (["toy", "--data", "weights.txt=other.txt"], f"the SHA-256 {sha256('22.06')}, not "),
        (["--data", "weights.txt=x"], "--data needs the NAME of a table"),
        (["toy", "--data", "weights.txt=clone/weights.txt", "--data", "pets=x"], "--data pets: "),
        (["--data", "pets=x", "--data", "pets=x"], "--data pets is given twice"),
        (["toy", "--cpu"], "unrecognized arguments: --cpu"),
    ],
)
def test_wrong_use_is_one_line_before_any_work(clone, tmp_path, refused, words, said):
    (tmp_path / "other.txt").write_text("22.06")
    (tmp_path / "links/a").mkdir(parents=True)
    (tmp_path / "links/a/b.jpg").symlink_to(tmp_path / "gone.jpg")
    assert said in refused(*words)
    assert not (tmp_path / "reproduced").exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("out", "cannot be written"),
        ("out/toy", "cannot be written"),
        ("out/toy/mine.txt", "toy is not empty; give another --out"),
    ],
)
def test_other_files_in_the_folder_are_not_overwritten(clone, tmp_path, refused, file, said):
    touch(tmp_path, file)
    assert said in refused(*with_data(clone), "--out", "out")


def test_two_calls_do_not_share_a_folder(clone, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(run_folder, "_PATIENCE", 0)
    assert call(*with_data(clone)) == 0
    with run_folder.lock(tmp_path / "reproduced/toy"):
        assert "another process is writing into" in refused(*with_data(clone))


def test_the_digest_of_a_folder_is_of_contents_and_names(tmp_path):
    folder = tmp_path / "photos"
    # A file of the folder itself and a hidden one do not count.
    touch(folder, "train/b.jpg", "a/c.jpg", "README.md", "a/.hidden")
    (folder / "train/b.jpg").write_text("b")
    find = "find */ -name '*.jpg' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(find, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    digest = reproduce.contents_sha256(folder)
    assert done.stdout.split()[0] == digest
    (folder / "train/b.jpg").rename(folder / "a/b.jpg")  # another split
    assert reproduce.contents_sha256(folder) != digest


def test_an_interrupted_call_continues_with_the_command_that_failed(clone, tmp_path, capfd):
    commands = [f"python benchmarks/toy.py {word} data/weights.txt" for word in ("all", "fail")]
    write_plan(clone, commands=commands)
    assert call(*with_data(clone)) == 1
    assert "exit code 3 of: python benchmarks/toy.py fail" in capfd.readouterr().err
    assert call(*with_data(clone)) == 0
    calls = (tmp_path / "reproduced/toy/calls.txt").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["all", "fail", "fail"]
    # What was measured is compared again, and not measured again.
    assert call(*with_data(clone)) == 0
    assert (tmp_path / "reproduced/toy/calls.txt").read_text().splitlines() == calls
    assert "It was measured there before" in capfd.readouterr().out
    write_plan(clone, commands=commands[:1])
    assert call(*with_data(clone)) == 2
    assert "was begun with other code" in capfd.readouterr().err
    assert call(*with_data(clone), "--out", "other") == 0


def test_a_table_without_results_is_listed_and_refused(clone, capsys, refused):
    (clone / "benchmarks/results/toy.json").unlink()
    assert "has not been measured yet" in refused(*with_data(clone))
    assert call() == 0
    out = capsys.readouterr().out
    assert re.search(r"^toy +not measured +no +weights\.txt$", out, re.MULTILINE)
    assert "the weights" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_what_a_script_has_started(clone, tmp_path, number, code):
    """A script waits for a training; both end with the command."""
    (clone / "benchmarks/wait.py").write_text(
        "import subprocess, sys\n"
        'code = \'import os, time; print(os.getpid(), file=open("pid", "w")); time.sleep(60)\'\n'
        "subprocess.run([sys.executable, '-c', code])\n"
    )
    write_plan(clone, commands=["python benchmarks/wait.py"])
    pid = tmp_path / "reproduced/toy/pid"

    def terminate():
        until(lambda: pid.exists() and pid.read_text().strip())
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored after `nohup`
    thread = threading.Thread(target=terminate)
    try:
        thread.start()
        with pytest.raises(SystemExit) as ended:
            sys.exit(call(*with_data(clone)))
        assert ended.value.code == code
        until(lambda: not Path("/proc", pid.read_text().strip()).exists())
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
