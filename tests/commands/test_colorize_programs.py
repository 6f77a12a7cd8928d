import json
import sys

import pytest
from PIL import Image

_COMMAND = """
import sys
from pathlib import Path
from PIL import Image
given, colored = map(Path, sys.argv[1:3])
with open(Path(__file__).with_name("calls"), "a") as calls:
    calls.write("x")
for file in given.rglob("*.png"):
    with Image.open(file) as image:
        if image.convert("L").getextrema()[1] < 50:
            sys.exit("too dark")
        red = Image.blend(image.convert("RGB"), Image.new("RGB", image.size, "red"), 0.1)
        red.save(colored / file.name)
"""


@pytest.fixture
def images(tmp_path):
    """Four images of the same size, of which the command refuses one."""
    (tmp_path / "in").mkdir()
    for name, value in (("a", 90), ("b", 20), ("c", 120), ("d", 150)):
        Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def _records(folder):
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {line["input"].rpartition("/")[2]: line for line in lines}


def test_a_command_that_fails_for_one_image_colors_the_others(command, images, tmp_path, capsys):
    (tmp_path / "their.py").write_text(_COMMAND)
    words = f"{sys.executable} {tmp_path / 'their.py'} {{input}} {{output}}"
    (tmp_path / "their.yaml").write_text(f"command: {words}\nsize: 40\n")
    out = tmp_path / "out"
    allowed = ("--checkpoint", tmp_path / "their.yaml", "--allow-class", "command")
    assert command("colorize", images, out, *allowed) == 1
    printed = capsys.readouterr()
    assert "3 colorized, 0 skipped, 1 failed" in printed.out
    records = _records(out)
    assert {name: record["status"] for name, record in records.items()} == {
        "a.png": "ok", "b.png": "failed", "c.png": "ok", "d.png": "ok",
    }  # fmt: skip
    assert records["b.png"]["reason"].endswith("ended with 1: too dark")
    assert not (out / "b.png").exists()
    # No image is given to it twice.
    assert (tmp_path / "calls").read_text() == "xxxx"


@pytest.mark.parametrize("content", [None, "print()"])
def test_a_command_that_cannot_be_started_is_one_line(command, images, tmp_path, content, capsys):
    file = tmp_path / "their"
    if content is not None:
        file.write_text(content)  # not executable
    (tmp_path / "their.yaml").write_text(f"command: {file} {{input}} {{output}}\n")
    out = tmp_path / "out"
    allowed = ("--checkpoint", tmp_path / "their.yaml", "--allow-class", "command")
    assert command("colorize", images, out, *allowed) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"there is no program {file} that can be executed" in line
    assert not out.exists()


def test_a_program_without_a_form_that_the_system_knows_stops_at_once(
    command, images, tmp_path, capsys
):
    file = tmp_path / "their"
    file.write_bytes(b"\0 no program")
    file.chmod(0o755)
    (tmp_path / "their.yaml").write_text(f"command: {file} {{input}} {{output}}\n")
    out = tmp_path / "out"
    allowed = ("--checkpoint", tmp_path / "their.yaml", "--allow-class", "command")
    assert command("colorize", images, out, *allowed, "--quiet") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file} cannot be started" in line
    assert (out / "manifest.jsonl").read_text() == ""
