import io

from rich.console import Console

from lightning_colorize.evaluation import metrics_table, print_plain
from lightning_colorize.evaluation.table import Cell, Column, Table, make_row

_ROWS = {
    "model": {
        "psnr": 23.456,
        "ciede2000": 11.004,
        "colorfulness": 20.0,
        "ab_corr": 0.4,
        "loss": 1.0,
    },
    "grey": {"psnr": 21.98, "ciede2000": 12.18, "colorfulness": 0.0, "ab_corr": float("nan")},
    "[lut]": {"psnr": 23.4561, "ciede2000": 11.005, "colorfulness": 9.0},
}


def _styles(table):
    return {
        str(column.header): [getattr(cell, "style", "") for cell in column.cells]
        for column in table.__rich__().columns
    }


def test_rounding_order_and_best_values_in_bold():
    table = metrics_table(_ROWS, "[/a]\x1b")
    columns = table.__rich__().columns
    assert [str(column.header) for column in columns] == [
        r"[/a]\x1b", "psnr", "ciede2000", "colorfulness", "ab_corr",
    ]  # fmt: skip
    cells = [[str(cell) for cell in column.cells] for column in columns]
    assert cells == [
        ["model", "grey", "[lut]"],
        ["23.46", "21.98", "23.46"],
        ["11.00", "12.18", "11.01"],
        ["20.0", "0.0", "9.0"],
        ["0.400", "-", "-"],
    ]
    styles = _styles(table)
    assert styles["psnr"] == ["bold", "", "bold"]
    assert styles["ciede2000"] == ["bold", "", ""]
    # More color is not always better.
    assert styles["colorfulness"] == ["", "", ""]
    assert styles["ab_corr"] == ["bold", "", ""]
    assert _styles(metrics_table({"model": {"psnr": float("nan")}}))["psnr"] == [""]


def test_output_off_a_terminal_is_plain_text_in_whole_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    file = io.StringIO()
    print_plain(metrics_table(_ROWS), Console(file=file))
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["psnr", "ciede2000", "colorfulness", "ab_corr"]
    assert lines[3].split() == ["[lut]", "23.46", "11.01", "9.0", "-"]
    assert "\x1b" not in file.getvalue()


def test_texts_wrap_on_a_narrow_terminal_and_numbers_are_whole():
    columns = [Column("images"), Column("for example", text=True)]
    file = io.StringIO()
    console = Console(file=file, width=30, force_terminal=True, no_color=True)
    print_plain(Table("", columns, [make_row("1,179,648", "a long name " * 5)]), console)
    assert "1,179,648" in file.getvalue()
    assert file.getvalue().count("long") == 5
    # Too narrow even for the numbers.
    file = io.StringIO()
    console = Console(file=file, width=30, force_terminal=True, no_color=True)
    print_plain(metrics_table(_ROWS), console)
    for text in ("model", "23.46", "11.00", "20.0", "0.40", "ab_corr"):
        assert text in file.getvalue()


def test_markdown_has_the_notes_and_no_markup_of_others():
    rows = [make_row("a|b <i>", Cell("1.5", ["1 to 2"])), make_row("c", "-")]
    lines = Table("", [Column("name", text=True), Column("value")], rows).markdown()
    assert lines == [
        "| name | value |",
        "| --- | ---: |",
        r"| a\|b &lt;i> | 1.5 (1 to 2) |",
        "| c | - |",
    ]
