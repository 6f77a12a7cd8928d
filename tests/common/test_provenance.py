import os
import subprocess

import pytest
import torch

from lightning_colorize import __version__
from lightning_colorize.common import provenance
from tests.data.sources.conftest import touch


@pytest.fixture(autouse=True)
def source(tmp_path, monkeypatch):
    """A folder in which the package's source stands."""
    file = touch(tmp_path / "package", "provenance.py") / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path))
    provenance.git_commit.cache_clear()
    yield file.parent
    provenance.git_commit.cache_clear()


def git(folder, *words):
    call = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *words]
    return subprocess.check_output(call, cwd=folder, text=True).strip()


def test_versions_are_those_installed():
    versions = provenance.versions("Pillow")
    assert list(versions) == [*provenance.PACKAGES, "Pillow"]
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert versions["lightning-colorize"] == __version__


def test_the_commit_is_that_of_the_source_and_is_cached(source, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (source, elsewhere):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "--allow-empty", "-m", folder.name)
    monkeypatch.chdir(elsewhere)
    head = git(source, "rev-parse", "HEAD")
    assert provenance.git_commit() == head != git(elsewhere, "rev-parse", "HEAD")
    git(source, "commit", "-q", "--allow-empty", "-m", "second")
    assert provenance.git_commit() == head


def test_no_commit_of_a_repository_without_the_source(source):
    git(source, "init", "-q")
    git(source, "commit", "-q", "--allow-empty", "-m", "another project, the source is ignored")
    assert provenance.git_commit() is None


def test_no_commit_outside_a_repository_or_without_git(monkeypatch):
    assert provenance.git_commit() is None
    provenance.git_commit.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() is None
