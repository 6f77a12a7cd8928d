import json
from pathlib import Path

import pytest
import yaml

from lightning_colorize.evaluation.protocol import SYSTEM, TRUTH, read_protocol
from lightning_colorize.reports import leaderboard as leaderboard_page

_METRICS = ("psnr", "ssim", "ciede2000", "colorfulness_ratio", "colorfulness_absolute")


def _result(system, ciede2000=10.0, **protocol):
    def row(value):
        values = {metric: {"value": 1.0, "low": 0.9, "high": 1.1} for metric in _METRICS}
        values["psnr"] = {"value": 100.0 if value == 0 else 20.0, "low": 19.0, "high": 101.0}
        return values | {"ciede2000": {"value": value, "low": value - 1, "high": value + 1}}

    settings = {"size": 256, "shape": "crop", "resampling": "bicubic"}
    measured = {"name": "crop256", "settings": settings, "images": 3, "sha256": "a" * 64}
    return {
        "system": system,
        "sha256": None,
        "settings": {"size": 32, "strength": 0.85, "tone": "warm"},
        "protocol": measured | protocol,
        "rows": {SYSTEM: row(ciede2000), TRUTH: row(0.0), "grey": row(12.0)},
        "changes_lightness": 0.1,
        "unreadable": 0,
        "trained_on": None,
        "versions": {"lightning-colorize": "0.1.0"},
        "git_commit": None,
    }


def _frechet(value, sha256):
    rows = {SYSTEM: {"value": value}, TRUTH: {"value": 0.0}}
    return {
        "name": "fid",
        "title": "FID <b>",
        "goal": "min",
        "sha256": sha256 * 64,
        "images": 3,
        "rows": rows,
    }


@pytest.fixture
def leaderboard(command, tmp_path):
    """Calls the command on results; returns exit code, lines of the table and the page."""
    out, folder = tmp_path / "out", tmp_path / "results"
    folder.mkdir()

    def call(*results):
        for name, result in zip("abc", results, strict=False):
            (folder / f"{name}.json").write_text(json.dumps(result))
        code = command("leaderboard", folder, "--out", out)
        if code:
            assert not out.exists()
            return code, [], ""
        lines = (out / "leaderboard.md").read_text().splitlines()
        return code, lines, (out / "index.html").read_text()

    return call


def test_the_best_system_is_first_on_page_and_in_markdown(leaderboard, capsys):
    code, lines, page = leaderboard(_result("worse", 11.0), _result("better", 9.0, name="mine"))
    assert code == 0
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows == ["system", "---", "better", "worse", "grey", TRUTH]
    assert "9.00 (8.00 to 10.00)" in lines[6]
    assert "size 32, strength 0.85, tone warm" in lines[6]
    assert page.index(">better<") < page.index(">worse<") < page.index(">grey<")
    assert "better" in capsys.readouterr().out


def test_a_name_is_text_everywhere(leaderboard):
    _, lines, page = leaderboard(_result("<script>alert(1)</script> | x\n# y"))
    assert "<script>alert" not in page
    (row,) = (line for line in lines if "alert" in line)
    assert row.startswith(r"| &lt;script>alert(1)&lt;/script> \| x \# y |")


@pytest.mark.parametrize("other", [{}, {"antialias": True}])
def test_published_results_are_shown_for_their_protocol_and_marked(leaderboard, other):
    settings = read_protocol("val5k-stretch256").settings() | other
    result = _result("one", name="mine", settings=settings, images=5000)
    result["rows"][TRUTH]["colorfulness_absolute"]["value"] = 38.3
    _, lines, page = leaderboard(result)
    starts = [i for i, line in enumerate(lines) if "Published, not measured here" in line]
    if other:
        assert not starts
        return
    (start,) = starts
    assert "DDColor, ICCV 2023 (arXiv 2212.11613v5), Table 1" in lines[start]
    assert lines[start + 2] == "| system | FID | CF | ΔCF | PSNR |"
    assert "| DDColor-large | 3.92 | 38.26 | 0.05 | 23.85 |" in lines[start:]
    assert not any("DDColor-large" in line for line in lines[:start])
    assert "Published, not measured here" in page
    assert page.index(">one<") < page.index("Table 1") < page.index(">DDColor-large<")


def test_published_colorfulness_agrees_with_one_truth_and_the_docs_have_every_row():
    folder = Path(leaderboard_page.__file__).parent
    content = yaml.safe_load((folder / "published.yaml").read_text())
    page = (Path(__file__).parents[2] / "docs/how-to/protocols.md").read_text()
    assert content["source"] in page
    for protocol, systems in content["protocols"].items():
        truth = read_protocol(protocol).colorfulness
        for system, (fid, cf, delta, psnr) in systems.items():
            assert abs(cf - truth) == pytest.approx(delta, abs=0.011)
            row = f"| `{protocol}` | {system} | {fid:.2f} | {cf:.2f} | {delta:.2f} | {psnr:.2f} |"
            assert row in page


SMALLER = {"size": 128, "shape": "crop", "resampling": "bicubic"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"sha256": "b" * 64}, "other images"),
        ({"sha256": "b" * 64, "images": 4}, "3 and 4 images"),
        ({"sha256": "b" * 64, "name": "mine", "settings": SMALLER}, "size 256 and 128"),
    ],
)
def test_results_of_two_protocols_are_refused_with_the_reason(leaderboard, other, reason, capsys):
    assert leaderboard(_result("one"), _result("two", **other))[0] == 2
    assert reason in capsys.readouterr().err


def _changed(change):
    result = _result("one")
    change(result["rows"])
    return result


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (
            _changed(lambda rows: rows[TRUTH]["psnr"].update(value=45.0)),
            "a.json is not calibrated: the truth itself",
        ),
        ({"system": "x"}, "a.json is not a protocol result: sha256"),
        (_changed(lambda rows: rows.pop("grey")), "rows: grey has no psnr"),
        (_changed(lambda rows: rows[SYSTEM]["psnr"].update(value=float("nan"))), "psnr"),
    ],
)
def test_what_is_not_calibrated_or_no_result_is_refused(leaderboard, result, reason, capsys):
    assert leaderboard(result)[0] == 2
    assert reason in capsys.readouterr().err


def test_two_networks_are_two_columns_and_other_results_have_none(leaderboard):
    lpips = {"name": "lpips_alex", "title": "LPIPS", "goal": "min"}
    _, lines, page = leaderboard(
        _result("one", 9.0) | {"pretrained": [_frechet(12.5, "a"), lpips]},
        _result("two", 10.0) | {"pretrained": [_frechet(31.25, "b")]},
        _result("three", 11.0),
    )
    table = [[cell.strip() for cell in line.split(" | ")] for line in lines if line[:2] == "| "]
    columns = [table[0].index(f"fid {digit * 8}") for digit in "ab"]
    assert not any("lpips" in cell for cell in table[0])
    shown = {row[0].removeprefix("| "): [row[column] for column in columns] for row in table}
    assert shown["one"] == ["12.5 (N 3)", "-"]
    assert shown["two"] == ["-", "31.25 (N 3)"]
    assert shown["three"] == ["-", "-"]
    assert shown[TRUTH] == ["0 (N 3)", "0 (N 3)"]
    assert "fid aaaaaaaa" in page
    assert "FID <b>" not in page


def test_nothing_is_overwritten(command, leaderboard, tmp_path):
    (tmp_path / "results" / "a.json").write_text(json.dumps(_result("one")))
    (tmp_path / "index.html").write_text("mine")
    assert command("leaderboard", tmp_path / "results", "--out", tmp_path) == 2
    assert (tmp_path / "index.html").read_text() == "mine"
    assert command("leaderboard", tmp_path / "gone", "--out", tmp_path / "out") == 2
