import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.evaluation.data import EvaluationImages
from lightning_colorize.evaluation.statistics import Difference
from lightning_colorize.metrics.spec import COLUMNS, NAMES, metric_goal
from lightning_colorize.reports.comparison.collector import ImageCollector, Plan
from lightning_colorize.reports.comparison.page import render_page
from lightning_colorize.reports.comparison.report import build_report, differences_table
from lightning_colorize.reports.kit.images import draw_sheet
from tests.reports.comparison.made import make_measured
from tests.reports.html import content, requests_another_site, section


def _image(seed, size=128):
    """Smooth shapes with a little noise: as hard to compress as a photograph."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=random)
    shape = (size, size * 4 // 3)
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="bicubic")[0]
    noise = 0.03 * torch.randn(3, *shape, generator=random)
    return ((smooth + noise).clamp(0, 1) * 255).byte()


class _Images:
    def __init__(self, names, size):
        self.names, self.size = names, size

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]

    def read(self, index, min_side):
        return _image(100 * index, self.size)


def _system(index, size):
    """A system that colors each image by another seed; the first one finds the truth."""
    return SimpleNamespace(
        name=f"system {index}",
        path=Path(f"runs/{index}"),
        model=SimpleNamespace(kind="best.ckpt"),
        run=None,
        color_whole=lambda name, rgb, _, **more: _image(100 * int(name[5:-7]) + index, size),
    )


def _page(folder, count, images, size=32, *, truth=True):
    """Write a comparison of so many systems; return its numbers, images and HTML."""
    systems = [_system(index, size) for index in range(count)]
    names = [f"{'cats' if i % 2 else 'dogs'}/{i}<b>.jpg" for i in range(images)]
    measured = make_measured(
        [s.name for s in systems], names, ["grey"] if truth else [], truth=truth
    )
    found = EvaluationImages(_Images(names, size), "test")
    plan = Plan(
        systems, found, missing={}, trained_on={}, data=Path("photos"), out=folder, size=size,
        batch_size=4, seed=0, device=torch.device("cpu"), truth=truth, study=False,
    )  # fmt: skip
    collector = ImageCollector(plan)
    for i, name in enumerate(names):
        collector.add(name, torch.as_tensor(measured.values[:count, :, i]) if truth else None)
        collector.images[-1].disagreement = measured.disagreement[i]
    report = build_report(measured, systems, seed=0)
    settings = {"data.size": ["64", None]}
    html = render_page(plan, report, collector.images, ["take care"], settings)
    return report, collector.images, html


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, numbers, images and HTML of two systems on 20 images."""
    folder = tmp_path_factory.mktemp("page")
    return folder, *_page(folder, 2, 20)


def test_the_page_has_the_metrics_and_their_intervals(made):
    _, report, _, html = made
    text = content(html)
    assert "<h1>system 0 against system 1</h1>" in text
    assert "take care" in text
    assert "20 test images of <code>photos" in text
    for row in ("system 0", "system 1"):
        assert f"{report.rows[row]['psnr']:.2f}" in text
    psnr = report.differences[1][0]
    assert f"[{psnr.low:+.2f}, {psnr.high:+.2f}]".replace("-", "\N{MINUS SIGN}") in text
    for name in ("metrics", "differ", "extremes", "images", "method"):
        assert f'<li><a href="#{name}">' in text
        assert section(text, name)


def _cells(report):
    return [row.cells[1:] for row in differences_table(report).rows]


def test_verdicts_follow_the_goal_of_the_metric(made):
    report = made[1]
    less = Difference(-1.0, -1.5, -0.5)
    rows = [[less] * len(NAMES)] * len(report.differences)
    cells = _cells(replace(report, differences=rows))[1]
    verdicts = {"max": "worse", "min": "better", None: "other"}
    assert [cell.note_kind for cell in cells] == [verdicts[metric_goal(name)] for name in NAMES]


def test_the_page_requests_nothing_escapes_names_and_describes_images(made):
    folder, _, images, html = made
    assert "0<b>.jpg" not in html
    assert "0&lt;b&gt;.jpg" in html
    text = content(html)
    assert not requests_another_site(text)
    assert "default-src 'none'" in text
    markup = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall("<img src=[^>]*>", markup))
    links = set(re.findall(r'(?:href|src)="([^"]*)"', markup)) - {"data:", "data:,"}
    sheets = {image.sheet for image in images}
    assert all((folder / sheet).is_file() for sheet in sheets)
    assert links & sheets
    links = {link for link in links if not link.startswith("errors.html")}
    assert links - sheets <= {f"#{name}" for name in re.findall(' id="([^"]+)"', markup)}


def test_the_largest_differences_and_the_best_and_worst_come_first(made):
    _, report, images, html = made
    order = sorted(range(20), key=lambda i: -report.results.disagreement[i])
    differ = section(html, "differ")
    assert re.findall(r'<h3><a class="sheet" href="([^"]+)', differ) == [
        images[i].sheet for i in order[:8]
    ]
    assert len(re.findall("<img src=", differ)) == 8 * 4
    assert '<a href="errors.html">' in section(html, "images")
    errors = report.results.values[0, COLUMNS.index("ciede2000")]
    ranked = np.argsort(errors)
    expected = [images[i].sheet for i in (*ranked[:4], *ranked[::-1][:4])]
    extremes = section(html, "extremes")
    assert re.findall(r'class="sheet tiles" href="([^"]+)', extremes)[:8] == expected


def test_a_sheet_of_very_long_images_is_a_jpeg(tmp_path):
    images = [Image.new("RGB", (1, 600))] * 2
    draw_sheet(images, [("grey", ""), ("a", "")], "a.jpg").save(tmp_path / "sheet.jpg")


@pytest.mark.parametrize(("count", "size"), [(3, (64, 64)), (12, (96, 64)), (12, (390, 130))])
def test_a_sheet_shows_all_images_whole_and_in_order(count, size):
    colors = [(20 * i, 255 - 20 * i, 128) for i in range(count)]
    images = [Image.new("RGB", size, color) for color in colors]
    labels = [(f"system {i}", "dE 3.0") for i in range(count)]
    pixels = np.asarray(draw_sheet(images, labels, "a.jpg"))
    assert pixels.shape[1] < 2450
    factor = max(1, 128 // size[1])
    positions = {}
    for y, x in zip(*np.where((pixels[..., 2] == 128) & (pixels[..., 0] % 20 == 0)), strict=True):
        positions.setdefault(tuple(pixels[y, x].tolist()), []).append((y, x))
    assert {color: len(positions[color]) for color in colors} == dict.fromkeys(
        colors, size[0] * size[1] * factor**2
    )
    assert sorted(colors, key=lambda color: positions[color][0]) == colors


@pytest.mark.parametrize(
    ("one", "other"), [(("n" * 200, "t" * 200), ("n", "t")), (("n", "a\nb"), ("n", "a b"))]
)
def test_labels_stay_on_one_line(one, other):
    sheets = [draw_sheet([Image.new("RGB", (64, 64))], [(n, "")], t) for n, t in (one, other)]
    assert sheets[0].size == sheets[1].size


@pytest.mark.parametrize("truth", [True, False])
def test_labels_of_a_sheet_are_in_the_order_of_its_images(tmp_path, monkeypatch, truth):
    drawn = []
    monkeypatch.setattr(
        "lightning_colorize.reports.comparison.collector.draw_sheet",
        lambda images, labels, title: drawn.append((images, labels)) or Image.new("RGB", (9, 9)),
    )
    report, _, _ = _page(tmp_path, 2, 1, truth=truth)
    ((images, labels),) = drawn
    assert [name for name, _ in labels] == ["grey", "system 0", "system 1", "truth"][: 3 + truth]
    # The first system colors images of seed 0 as the truth: its image is the true one.
    assert np.array_equal(np.asarray(images[1]), np.asarray(to_pil_image(_image(0, 32))))
    assert not np.array_equal(np.asarray(images[2]), np.asarray(images[1]))
    if truth:
        psnr = report.results.values[:2, COLUMNS.index("psnr"), 0]
        assert [note.split("PSNR ")[1] for _, note in labels[1:3]] == [f"{v:.1f}" for v in psnr]
        assert np.array_equal(np.asarray(images[3]), np.asarray(images[1]))
