from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.dataset import CorruptImage
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.shards.files import ShardError
from lightning_colorize.data.sources.listing import read_name_list


def errors(*names):
    return [CorruptImage(name, ImageError(Path("/photos") / name, f"not {name}")) for name in names]


def test_report_lists_names_and_reasons(tmp_path, capsys):
    report = tmp_path / "run" / "broken.txt"
    broken = CorruptImages(1000, 0.01, report)
    broken.add([])
    assert not report.exists()
    broken.add(errors("a.jpg", "val/b.jpg"))
    broken.add(errors("val/b.jpg", "c.jpg"))
    assert report.read_text() == (
        "# not a.jpg\na.jpg\n# not val/b.jpg\nval/b.jpg\n# not c.jpg\nc.jpg\n"
    )
    assert capsys.readouterr().err == f"Skipping 2 broken images, listed in {report}\n"
    assert read_name_list(report) == {"a.jpg", "val/b.jpg", "c.jpg"}
    CorruptImages(1000, 0.01, report).add(errors("a.jpg", "d.jpg"))  # a resumed run
    assert report.read_text().endswith("c.jpg\n# not d.jpg\nd.jpg\n")


def test_without_report_up_to_five_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    broken = CorruptImages(1000, 0.01)
    broken.add(errors("a"))
    broken.add(errors(*"bcdefgh"))
    broken.add(errors("i"))
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.splitlines() == [
        "Skipping 1 broken image: /photos/a: not a",
        "Skipping 7 broken images: "
        + ", ".join(f"/photos/{name}: not {name}" for name in "bcde")
        + " and 3 more",
    ]


def test_too_large_a_share_stops_the_run(tmp_path, capsys):
    report = tmp_path / "broken.txt"
    broken = CorruptImages(200, 0.01, report)
    broken.add(errors("a.jpg", "b.jpg"))  # exactly 1 %
    message = f"^3 or more of 200 .*: not a.jpg; .* in {report}.* --data.max_broken_share .*0.01.$"
    with pytest.raises(UsageError, match=message):
        broken.add(errors("c.jpg"))
    assert len(read_name_list(report)) == 3
    report.unlink()
    capsys.readouterr()
    few = CorruptImages(30, 0.0, report)
    few.add(errors("a.jpg"), reported_by_rank_zero=True)  # one is always tolerated
    with pytest.raises(UsageError, match="2 or more of 30"):
        few.add(errors("b.jpg"), reported_by_rank_zero=True)
    assert not report.exists()
    assert capsys.readouterr().err == ""


def test_a_shard_that_must_not_be_skipped_stops_the_run():
    error = ShardError(Path("a.jpg"), "/pack/1.tar: damaged: run pack again")
    with pytest.raises(WorkError, match=r"^a\.jpg: /pack/1\.tar: damaged: run pack again$"):
        CorruptImages(1000, 1.0).add([CorruptImage("a.jpg", error)])
