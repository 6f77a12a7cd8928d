from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.dataset import CorruptImage
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.shards.check import ShardError
from lightning_colorize.data.sources.listing import read_name_list


def of_shard(*names):
    """Images of a damaged shard of twenty, which is skipped."""
    return [CorruptImage(name, ShardError("/pack/1.bin", "damaged", 20, None)) for name in names]


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


def test_a_skipped_shard_counts_with_all_of_its_images(tmp_path, capsys):
    report = tmp_path / "broken.txt"
    broken = CorruptImages(1000, 0.0215, report)
    broken.add(of_shard("1", "2", "3", "4"))
    broken.add(of_shard("4", "5"))
    assert capsys.readouterr().err == "Skipping the 20 images of /pack/1.bin: damaged\n"
    assert read_name_list(report) == set("12345")
    broken.add(errors("a.jpg"))
    assert capsys.readouterr().err == f"Skipping 1 broken image, listed in {report}\n"
    with pytest.raises(UsageError, match=r"^22 or more of 1000 images cannot be read"):
        broken.add(errors("b.jpg"))
