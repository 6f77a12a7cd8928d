import os
import subprocess

import pytest
import torch

from lightning_colorize import __version__
from lightning_colorize.common import provenance


@pytest.fixture(autouse=True)
def fresh_cache():
    provenance.git_commit.cache_clear()
    yield
    provenance.git_commit.cache_clear()


def test_versions_are_those_installed():
    versions = provenance.versions("Pillow")
    assert list(versions) == [*provenance.PACKAGES, "Pillow"]
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert versions["lightning-colorize"] == __version__


def test_the_commit_of_the_working_directory_is_cached(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b.c")
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    head = (tmp_path / ".git" / (tmp_path / ".git/HEAD").read_text().split()[1]).read_text()
    assert provenance.git_commit() == head.strip()
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "second"], check=True)
    assert provenance.git_commit() == head.strip()


def test_no_commit_outside_a_repository_or_without_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert provenance.git_commit() is None
    provenance.git_commit.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() is None
