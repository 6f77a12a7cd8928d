from pathlib import Path

import pytest

from lightning_colorize.data.broken import BrokenPictures
from lightning_colorize.data.files import PictureError
from lightning_colorize.errors import UsageError


def errors(*names):
    return [PictureError(Path(name), f"reason of {name}") for name in names]


def test_they_are_listed_with_their_reasons_and_one_line_says_where(tmp_path, capsys):
    report = tmp_path / "run" / "broken.txt"
    broken = BrokenPictures("val", 1000, 0.01, report)
    broken.add([])
    assert not report.exists()
    broken.add(errors("a.jpg", "b.jpg"))
    broken.add(errors("b.jpg", "c.jpg"))
    assert report.read_text() == (
        "a.jpg\treason of a.jpg\nb.jpg\treason of b.jpg\nc.jpg\treason of c.jpg\n"
    )
    assert capsys.readouterr().err == f"Skipping 2 broken val picture(s), listed in {report}\n"


def test_too_large_a_share_stops_the_run(tmp_path):
    report = tmp_path / "broken.txt"
    broken = BrokenPictures("train", 200, 0.01, report)
    broken.add(errors("a.jpg", "b.jpg"))  # exactly 1 %
    with pytest.raises(UsageError) as raised:
        broken.add(errors("c.jpg"))
    message = str(raised.value)
    assert message.startswith("3 of 200 train pictures cannot be read (first: a.jpg: reason of a")
    assert str(report) in message
    assert "data.max_broken_share (now 0.01)" in message
    assert "\n" not in message
    assert len(report.read_text().splitlines()) == 3


def test_a_picture_that_is_met_again_counts_once(tmp_path):
    broken = BrokenPictures("train", 100, 0.01, tmp_path / "broken.txt")
    for _ in range(5):
        broken.add(errors("a.jpg"))
