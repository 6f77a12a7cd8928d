"""Files that are written whole or not at all."""

import errno
import os

import pytest

from lightning_colorize.common import files
from lightning_colorize.common.errors import UsageError


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "deeper" / "file.txt"
    files.write_atomic(path, "first\n")
    assert path.read_bytes() == b"first\n"

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        files.write_atomic(path, "second\n")
    assert path.read_text() == "first\n"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(path := tmp_path / "pipe")
    files.require_writable(path, "--json")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    files.write_atomic(path, "text")
    assert os.read(reader, 9) == b"text"
    assert path.is_fifo()
    os.close(reader)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"kept\.json'"), files.atomic_file(tmp_path / "kept.json"):
        raise full


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    files.write_atomic(path, "text")
    assert path.read_text() == "text"


def test_unwritable_paths_are_refused(tmp_path):
    files.require_writable(tmp_path / "new" / "a.json", "--json")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a.json", "cannot be written: "),
        (tmp_path / ("a" * 256), "cannot be written: File name too long"),
    ]:
        with pytest.raises(UsageError) as caught:
            files.require_writable(path, "--json")
        assert str(caught.value).startswith(f"--json {path} {reason}")


def test_a_written_file_has_the_usual_permissions(tmp_path):
    files.write_atomic(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_leftovers_are_removed_but_files_in_use_are_not(tmp_path):
    leftover, other = tmp_path / ".0123456789abcdef.part", tmp_path / ".film.part"
    for path in (leftover, other):
        path.write_bytes(b"half")
    with files.atomic_file(tmp_path / "new.png", sync=False) as file:
        file.write(b"whole")
        files.remove_leftovers(tmp_path)
        assert not leftover.exists()
    assert sorted(os.listdir(tmp_path)) == [".film.part", "new.png"]
    assert (tmp_path / "new.png").read_bytes() == b"whole"
    files.remove_leftovers(tmp_path / "nowhere")
