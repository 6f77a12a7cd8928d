import zipfile

import pytest

from lightning_colorize.common.digest import append_digest, is_damaged


@pytest.fixture
def archive(tmp_path):
    """An archive with a digest."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("first", bytes(range(200)))
        file.writestr("second", b"2" * 200)
    with path.open("r+b") as file:
        append_digest(file)
    return path


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
