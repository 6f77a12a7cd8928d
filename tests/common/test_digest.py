import hashlib
import zipfile
from itertools import accumulate

import pytest
import torch

from lightning_colorize.common.digest import DigestWriter, is_damaged


@pytest.fixture
def archive(tmp_path):
    """An archive with a digest."""
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        writer = DigestWriter(file)
        with zipfile.ZipFile(writer, "w") as records:
            records.writestr("first", bytes(range(200)))
            records.writestr("second", b"2" * 200)
        writer.finish()
    return path


def test_digest_computed_while_writing_is_the_file_s(tmp_path):
    values = {"a": torch.randn(300, 300), "b": [torch.ones(3)] * 2, "c": "text"}
    torch.save(values, plain := tmp_path / "archive")  # the name is in the records
    with (path := tmp_path / "a.ckpt").open("wb") as file:
        writer = DigestWriter(file)
        torch.save(values, writer)
        writer.finish()
    body, digest = path.read_bytes()[:-58], path.read_bytes()[-32:]
    assert hashlib.sha256(body).digest() == digest
    # As torch.save writes it, but for the length of the comment.
    assert body == plain.read_bytes()[:-2] + (58).to_bytes(2, "little")
    assert not is_damaged(path)
    assert torch.equal(torch.load(path, weights_only=True)["a"], values["a"])


@pytest.mark.parametrize("sizes", [[1] * 30, [0, 30, 0], [1, 0, 2, 27], [29, 1]])
def test_digest_does_not_depend_on_the_pieces_written(tmp_path, sizes):
    content = memoryview(bytes(range(30)))
    with (path := tmp_path / "a").open("wb") as file:
        writer = DigestWriter(file)
        for end, size in zip(accumulate(sizes), sizes, strict=True):
            assert writer.write(content[end - size : end]) == size
        writer.finish()
    body = bytes(range(28)) + (58).to_bytes(2, "little")
    assert path.read_bytes()[:30] == body
    assert path.read_bytes()[-32:] == hashlib.sha256(body).digest()


def test_archive_is_read_as_before(archive):
    assert not is_damaged(archive)
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        assert file.read("first") == bytes(range(200))
        assert len(file.comment) == 58


def test_every_flipped_bit_before_the_digest_is_found(archive):
    content = archive.read_bytes()
    for position in range(len(content) - 58):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        archive.write_bytes(damaged)
        assert is_damaged(archive), position


@pytest.mark.parametrize("digest", [True, False])
def test_bytes_appended_or_missing_are_found(archive, digest):
    if not digest:
        with zipfile.ZipFile(archive) as file:
            records = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(archive, "w") as file:
            for name, record in records.items():
                file.writestr(name, record)
    content = archive.read_bytes()
    assert not is_damaged(archive)
    for damaged in (
        *(content + bytes(count) for count in (1, 500, 5000)),
        *(content[:-count] for count in range(1, 60 if digest else 3)),
        content[:200] + b"?" + content[201:],
    ):
        archive.write_bytes(damaged)
        assert is_damaged(archive), len(damaged) - len(content)


@pytest.mark.parametrize("content", [b"", b"PK", b"a" * 1000])
def test_file_that_is_no_archive_is_not_checked(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_damaged(tmp_path / "a")
