import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.evaluation.measured import Measured, Tiles
from lightning_colorize.evaluation.statistics import Difference
from lightning_colorize.evaluation.systems import Network
from lightning_colorize.metrics.spec import COLUMNS, METRICS, NAMES
from lightning_colorize.reports.comparison.cells import metric_rows
from lightning_colorize.reports.comparison.charts import (
    Interval,
    Line,
    interval_chart,
    line_chart,
    ticks,
)
from lightning_colorize.reports.comparison.compare import default_size
from lightning_colorize.reports.comparison.entries import Entries
from lightning_colorize.reports.comparison.page import Frame, render_page
from lightning_colorize.reports.comparison.report import build_report
from lightning_colorize.reports.comparison.sheets import Label, sheet, thumbnail, thumbnail_side

MEGABYTE = 2**20


class Page(HTMLParser):
    """What tests ask of a page: texts, addresses, images without a text."""

    def __init__(self, html):
        super().__init__()
        self.addresses, self.headings, self.unnamed, self.ids = [], [], [], []
        self.text = ""
        self._heading = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("href", "src") if name in attrs]
        self.ids.append(attrs.get("id"))
        if tag == "img" and not attrs.get("alt") and "src" in attrs:
            self.unnamed.append(attrs)
        self._heading = tag if tag in ("h1", "h2") else None

    def handle_data(self, data):
        self.text += data
        if self._heading and data.strip():
            self.headings.append(data.strip())


def _tile(seed, size=128):
    """Smooth shapes with a little noise: as hard to compress as a photograph."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0]
    noise = 0.03 * torch.randn(3, size, size, generator=random)
    return ((smooth + noise).clamp(0, 1) * 255).byte()


def _systems(count, run=None):
    return [
        SimpleNamespace(name=f"system {i}", place=Path(f"runs/{i}"), kind="best.ckpt", run=run)
        for i in range(count)
    ]


def _page(folder, systems, images, size=32, *, truth=True, undefined=None):
    random = np.random.default_rng(0)
    names = [f"{'cats' if i % 2 else 'dogs'}/{i}<b>.jpg" for i in range(images)]
    measured = Measured([s.name for s in systems], ["grey"] if truth else [], names)
    measured.disagreement = random.random(images)
    if truth:
        shape = (len(systems) + 1, len(COLUMNS), images)
        measured.values = random.uniform(5, 25, size=shape)
        if undefined is not None:
            measured.values[undefined] = np.nan
    side = thumbnail_side(size, images * (len(systems) + 2))
    entries = Entries(folder, measured.systems, side, lambda name: name.partition("/")[0])
    for i, name in enumerate(names):
        colored = [_tile(100 * i + k, size) for k in range(len(systems))]
        values = torch.as_tensor(measured.values[: len(systems), :, i]) if truth else None
        grey, true = _tile(100 * i + 98, size), _tile(100 * i + 99, size)
        entries.add(Tiles(name, grey, colored, true if truth else None), values)
        entries.entries[-1].disagreement = measured.disagreement[i]
    frame = Frame("photos", "test", size, side, False, ["take care"], {"data.size": ["64", None]})
    report = build_report(measured, systems, seed=0)
    return report, entries.entries, render_page(report, systems, entries.entries, frame)


def test_the_page_says_what_was_measured(tmp_path):
    report, _, html = _page(tmp_path, _systems(2), 6)
    page = Page(html)
    assert page.headings[0] == "system 0 against system 1"
    assert "take care" in page.text
    assert "6 test images of photos" in page.text
    for row in ("system 0", "system 1"):
        assert f"{report.rows[row]['psnr']:.2f}" in page.text
    of = report.differences[1][0]
    shown = f"[{of.low:+.2f}, {of.high:+.2f}]".replace("-", "\N{MINUS SIGN}")
    assert shown in page.text
    assert {"metrics", "differ", "extremes", "images", "method"} <= set(page.ids)


def test_better_and_worse_are_said_in_the_way_of_the_metric(tmp_path):
    report, _, _ = _page(tmp_path, _systems(2), 6)
    less = Difference(-1.0, -1.5, -0.5)
    rows = [[less] * len(NAMES)] * len(report.differences)
    cells = metric_rows(replace(report, differences=rows), [{"style": ""}] * 2)[1]["cells"]
    verdicts = dict(zip(NAMES, (cell["verdict"] for cell in cells), strict=True))
    assert verdicts == {
        metric.name: {"max": "worse", "min": "better", None: "other"}[metric.goal]
        for metric in METRICS
    }


def test_a_system_without_numbers_is_best_in_nothing(tmp_path):
    report, _, html = _page(tmp_path, _systems(3), 6, undefined=1)
    cells = [row["cells"] for row in metric_rows(report, [{"style": ""}] * 3)]
    assert not any(cell["best"] for cell in cells[1])
    for column, metric in enumerate(NAMES):
        if metric.startswith("color"):
            continue
        assert any(cells[number][column]["best"] for number in (0, 2))
    assert cells[1][0]["shown"] == "-"
    assert cells[1][0]["verdict"] == "unclear"
    numbers = json.dumps(report.as_dict(), allow_nan=False)
    assert json.loads(numbers)["metrics"]["system 1"]["psnr"] is None
    assert json.loads(numbers)["metrics"]["system 2"]["psnr"] > 0
    without_data = re.sub(r"data:image/webp;base64,[\w+/=]+", "", html)
    assert ">nan" not in without_data
    # Best and worst are of those that are known.
    assert "Best and worst" in html


def test_the_page_has_no_address_outside_and_every_image_a_text(tmp_path):
    _, entries, html = _page(tmp_path, _systems(2), 6)
    page = Page(html)
    without_data = re.sub(r"data:image/webp;base64,[\w+/=]+", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_data)
    assert page.unnamed == []
    inside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    assert {(tmp_path / a).is_file() for a in inside} == {True}
    assert {entry.sheet for entry in entries} == set(inside)
    assert all(address[1:] in page.ids for address in page.addresses if address.startswith("#"))


def test_the_tiles_of_an_image_stand_in_one_row(tmp_path):
    _, _, html = _page(tmp_path, _systems(3), 2)
    (rule,) = re.findall(r"^\.tiles \{([^}]*)\}", html, re.MULTILINE)
    assert "grid-template-columns: repeat(var(--columns), minmax(0, 1fr))" in rule
    # grey, three systems, truth.
    assert "--columns: 5" in html


def test_names_are_text_and_not_tags(tmp_path):
    _, _, html = _page(tmp_path, _systems(1), 2)
    assert "0<b>.jpg" not in html
    assert "0&lt;b&gt;.jpg" in html


def test_without_truth_there_are_no_metrics(tmp_path):
    report, entries, html = _page(tmp_path, _systems(2), 3, truth=False)
    page = Page(html)
    assert report.rows == {}
    assert report.as_dict().keys() == {"disagreement"}
    assert not {"metrics", "extremes", "seeds"} & set(page.ids)
    assert "psnr" not in page.text.lower().replace(page.headings[0].lower(), "")
    assert "in truth" not in html
    assert {entry.truth for entry in entries} == {""}


def test_images_that_differ_most_and_best_and_worst_come_first(tmp_path):
    report, entries, html = _page(tmp_path, _systems(2), 20)
    order = sorted(range(20), key=lambda i: -report.measured.disagreement[i])
    differ = html[html.index('id="differ"') : html.index('id="extremes"')]
    assert re.findall(r'<h3><a class="sheet" href="([^"]+)', differ) == [
        entries[i].sheet for i in order[:8]
    ]
    extremes = html[html.index('id="extremes"') : html.index('id="images"')]
    errors = report.measured.values[0, COLUMNS.index("ciede2000")]
    ranked = np.argsort(errors)
    expected = [entries[i].sheet for i in (*ranked[:4], *ranked[::-1][:4])]
    assert re.findall(r'class="sheet pair" href="([^"]+)', extremes)[:8] == expected


def test_ten_systems_and_five_hundred_images_fit_into_25_megabytes(tmp_path):
    # 40 images are made; the thumbnails are as small as for 500, and the rest is scaled up.
    side = thumbnail_side(128, 500 * 12)
    assert side >= 64
    tiles = [len(thumbnail(_tile(seed), side)) for seed in range(40)]
    _, _, html = _page(tmp_path, _systems(10), 40, size=48)
    data = sum(map(len, re.findall(r"data:image/webp[^\"]*", html)))
    markup_each = (len(html) - data) / 40
    again = 8 * 12 + 10 * 2 * 4 * 2  # shown a second time further up
    total = (500 * 12 + again) * np.mean(tiles) + 500 * markup_each
    assert total < 25 * MEGABYTE


def test_a_thumbnail_is_the_image_in_small():
    image = _tile(1)
    uri = thumbnail(image, 32)
    assert uri.startswith("data:image/webp;base64,")
    small = Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert small.size == (32, 32)
    mean = np.asarray(small.convert("RGB")).mean(axis=(0, 1))
    assert mean == pytest.approx(image.float().mean(dim=(1, 2)).numpy(), abs=4)


@pytest.mark.parametrize("tiles", [3, 12])
def test_a_sheet_shows_all_tiles_in_their_order(tiles):
    colors = [(20 * i, 255 - 20 * i, 128) for i in range(tiles)]
    squares = [torch.tensor(c, dtype=torch.uint8).view(3, 1, 1).expand(3, 64, 64) for c in colors]
    labels = [Label(f"system {i}", "dE 3.0") for i in range(tiles)]
    pixels = np.asarray(sheet(squares, labels, "a.jpg"))
    assert pixels.shape[1] < 6 * 210
    found = [
        color
        for row in pixels[40::64]
        for color in dict.fromkeys(map(tuple, row[::20]))
        if color in colors
    ]
    assert list(dict.fromkeys(found)) == colors


def test_labels_that_are_too_long_are_shortened():
    square = torch.zeros(3, 64, 64, dtype=torch.uint8)
    long = sheet([square], [Label("n" * 200, "")], "t" * 200)
    assert long.size == sheet([square], [Label("n", "")], "t").size


def test_a_label_stays_in_its_line():
    square = torch.zeros(3, 64, 64, dtype=torch.uint8)
    broken, whole = (sheet([square], [Label("n", "")], f"a{sign}b.jpg") for sign in "\n ")
    assert np.array_equal(np.asarray(broken), np.asarray(whole))


@pytest.mark.parametrize("truth", [True, False])
def test_labels_of_a_sheet_are_in_the_order_of_its_tiles(tmp_path, monkeypatch, truth):
    drawn = []
    monkeypatch.setattr(
        "lightning_colorize.reports.comparison.entries.sheet",
        lambda tiles, labels, title: drawn.append((tiles, labels)) or Image.new("RGB", (9, 9)),
    )
    tiles = Tiles("a.jpg", _tile(0), [_tile(1), _tile(2)], _tile(3) if truth else None)
    values = torch.zeros(2, len(COLUMNS))
    values[:, COLUMNS.index("psnr")] = torch.tensor([21.0, 22.0])
    Entries(tmp_path, ["one", "two"], 32, lambda name: "").add(tiles, values if truth else None)
    ((shown, labels),) = drawn
    expected = [("grey", tiles.grey, ""), ("one", tiles.systems[0], "21.0")]
    expected += [("two", tiles.systems[1], "22.0")] + [("truth", tiles.truth, "")] * truth
    assert len(shown) == len(labels) == len(expected)
    for image, label, (name, of, note) in zip(shown, labels, expected, strict=True):
        assert image is of
        assert label.name == name
        assert (note if truth else "") in label.note


def test_the_size_is_that_of_the_first_network():
    def network(size):
        place = Path("nowhere")
        return Network("net", place, SimpleNamespace(path=place, size=size))

    other = SimpleNamespace(loaded=SimpleNamespace(size=9))
    assert default_size([other, network(64), network(32)]) == 64
    assert default_size([other]) == 256


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (21.3, 22.9, [21, 21.5, 22, 22.5, 23]), (-0.3, 0.1, None)],
)
def test_ticks_are_round_and_reach_over_the_range(low, high, expected):
    marks = ticks(low, high)
    if expected is not None:
        assert marks == pytest.approx(expected)
    assert marks[0] <= low
    assert marks[-1] >= high


@pytest.mark.parametrize("value", [0.0, 22.5, -3.0])
def test_a_flat_line_has_ticks_too(value):
    marks = ticks(value, value)
    assert marks[0] < value < marks[-1]


def test_lines_go_where_their_points_are():
    svg = line_chart([Line("<a>", 11, [(1, 20.0), (2, 30.0)]), Line("b", 0, [])], "t", "epoch")
    assert "&lt;a&gt;: 30" in svg
    assert 'class="line s1 dashed"' in svg
    x1, y1, x2, y2 = map(float, re.search(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", svg).groups())
    assert x1 < x2
    assert y1 > y2


def test_an_interval_lies_on_its_side_of_0():
    row = Interval("a", 0, 0.2, 0.1, 0.3, "+0.2", "better")
    svg = interval_chart([row], "t")
    zero = float(re.search(r'class="zero" d="M([\d.]+) ', svg).group(1))
    start, end = map(float, re.search(r'<path d="M([\d.]+) [\d.]+H([\d.]+)"', svg).groups())
    assert zero < start < end
    assert 'class="interval better"' in svg


def test_long_names_differ_in_a_chart_and_have_their_colour():
    names = ["experiment_long_first", "experiment_long_second"]
    rows = [Interval(n, i, 0.2, 0.1, 0.3, "", "better") for i, n in enumerate(names, 11)]
    svg = interval_chart(rows, "t")
    shown = re.findall(r'<text class="name"[^>]*>([^<]*)<', svg)
    assert len(set(shown)) == 2
    assert all(len(text) == 16 for text in shown)
    assert re.findall(r'<g class="([^"]*)"><circle class="swatch"', svg) == [
        "s1 dashed",
        "s2 dashed",
    ]


def test_zero_differences_have_a_chart():
    svg = interval_chart([Interval("a", 0, 0.0, 0.0, 0.0, "0", "unclear")], "t")
    assert "nan" not in svg
