"""The image: for CPU or CUDA, without root; built where a container engine runs."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"


def instructions():
    """Return the instructions, each in one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [line for line in joined.splitlines() if line]


def test_image_runs_the_command_without_root():
    users = [line for line in instructions() if line.startswith("USER")]
    assert users == ["USER 1000"]
    assert 'ENTRYPOINT ["lightning-colorize"]' in instructions()
    assert not any(line.startswith("RUN") for line in instructions()[-4:])


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
