import zipfile

import pytest

from lightning_colorize.common.digest import append_digest, has_digest_of_others


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
    assert not has_digest_of_others(archive)
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
        assert has_digest_of_others(archive), position


def test_damaged_file_with_bytes_appended_or_missing_is_found(archive):
    content = archive.read_bytes()
    for damaged in (content + bytes(500), content[:-1], content[:200] + b"?" + content[201:-1]):
        archive.write_bytes(damaged)
        assert has_digest_of_others(archive)


@pytest.mark.parametrize("content", [b"", b"PK", b"a" * 1000])
def test_file_without_a_digest_is_not_checked(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not has_digest_of_others(tmp_path / "a")
