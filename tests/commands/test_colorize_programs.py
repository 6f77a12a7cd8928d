import pytest
from PIL import Image

from tests.conftest import read_lines


@pytest.fixture
def images(tmp_path):
    """Four images of the same size, of which the command refuses one."""
    (tmp_path / "in").mkdir()
    for name, value in (("a", 90), ("b", 20), ("c", 120), ("d", 150)):
        Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def test_a_command_that_fails_for_one_image_colors_the_others(
    command, images, external_program, tmp_path, capsys
):
    out = tmp_path / "out"
    allowed = ("--checkpoint", external_program(), "--allow-class", "command")
    assert command("colorize", images, out, *allowed) == 1
    printed = capsys.readouterr()
    assert "3 colorized, 0 skipped, 1 failed" in printed.out
    lines = read_lines(out / "manifest.jsonl")
    records = {line["input"].rpartition("/")[2]: line for line in lines}
    assert {name: record["status"] for name, record in records.items()} == {
        "a.png": "ok", "b.png": "failed", "c.png": "ok", "d.png": "ok",
    }  # fmt: skip
    assert records["b.png"]["reason"].endswith("exited with 1: too dark")
    assert not (out / "b.png").exists()
    # No image is given to it twice.
    assert (tmp_path / "calls").read_text() == "xxxx"


@pytest.mark.parametrize(
    ("content", "mode", "reason", "written"),
    [
        (None, 0, "is not an executable program", False),
        (b"print()", 0o644, "is not an executable program", False),
        (b"\0 no program", 0o755, "cannot be started", True),  # a form unknown to the system
    ],
)
def test_a_command_that_cannot_be_started_is_one_line(
    command, images, tmp_path, capsys, content, mode, reason, written
):
    file, out = tmp_path / "their", tmp_path / "out"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    (tmp_path / "their.yaml").write_text(f"command: {file} {{input}} {{output}}\n")
    allowed = ("--checkpoint", tmp_path / "their.yaml", "--allow-class", "command")
    assert command("colorize", images, out, *allowed, "--quiet") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file} {reason}" in line
    assert out.exists() == written
    assert not list(out.glob("*.png"))
