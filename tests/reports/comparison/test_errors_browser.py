"""The page of 5,000 images in a real browser."""

import time

import numpy as np
import pytest

from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.metrics.spec import COLUMNS
from tests.reports.comparison.made import CATEGORIES, SYSTEMS, write_made_errors
from tests.reports.conftest import DESK, PHONE

pytestmark = pytest.mark.browser

COUNT = 5000
MODES = [failure.name for failure in FAILURES]
PIXELS = "[...document.querySelectorAll('.thumb')].filter((t) => t.style.backgroundImage).length"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_made_errors(tmp_path_factory.mktemp("made"), COUNT)


def _names(page, count=12):
    return page.locator(".entry .name").evaluate_all(
        f"all => all.slice(0, {count}).map((name) => name.textContent)"
    )


def _expected(measured, key, wanted=None):
    known = [i for i in range(COUNT) if wanted is None or wanted(i)]
    order = sorted(known, key=lambda i: key[i] if np.isfinite(key[i]) else -np.inf, reverse=True)
    return [measured.names[i] for i in order]


def _sent(page, address):
    """Open an address as somebody does who received it."""
    other = page.context.new_page()
    other.goto(address)
    return other


def _focused(page):
    return page.evaluate("document.activeElement.dataset.name")


def test_five_thousand_images_open_in_seconds(visit, made, capsys):
    file, _ = made
    visit(file, **DESK).context.close()  # Chromium itself is warm
    start = time.perf_counter()
    page = visit(file, **DESK)
    page.wait_for_function(f"{PIXELS} > 0")
    seconds = time.perf_counter() - start
    memory = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    elements = page.evaluate("document.querySelectorAll('*').length")
    with capsys.disabled():
        print(f"\n{COUNT} images open in {seconds:.2f} s, {memory:.0f} MiB, {elements} elements")
    assert seconds < 10  # 3 on a machine that does nothing else
    assert memory < 100
    # Thumbnails out of sight are not loaded, and their entries do not exist.
    assert page.evaluate(PIXELS) < 0.01 * 3 * COUNT
    assert page.locator(".entry").count() < 0.1 * COUNT
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("document.querySelectorAll('.entry').length > 60")


def test_sorting_and_filters_choose_the_images_and_the_address_keeps_them(visit, made):
    file, measured = made
    page = visit(file, **DESK)
    errors = measured.values[:, COLUMNS.index("ciede2000")]
    assert _names(page, 5) == _expected(measured, errors[0])[:5]
    page.select_option("[name=sort]", "psnr")
    page.select_option("[name=of]", SYSTEMS[1])
    page.select_option("[name=failure]", "blotches")
    page.select_option("[name=category]", "dogs")
    failures = measured.failures[1, MODES.index("blotches")]
    limit = FAILURES[MODES.index("blotches")].threshold
    psnr = measured.values[1, COLUMNS.index("psnr")]
    expected = _expected(
        measured, -psnr, lambda i: CATEGORIES[i % 4] == "dogs" and failures[i] > limit
    )
    assert 20 < len(expected) < 1000
    assert _names(page) == expected[:12]
    assert page.locator("output").inner_text() == f"{len(expected)} of 5,000 images."
    sent = _sent(page, page.url)
    assert _names(sent) == expected[:12]
    assert sent.locator("[name=of]").input_value() == SYSTEMS[1]
    # Images without a value are last in both orders.
    for order, sign in (("worst", 1), ("best", -1)):
        sent = _sent(page, f"{file.as_uri()}#sort=ciede2000&order={order}")
        assert _names(sent, 5) == _expected(measured, sign * errors[0])[:5]
        sent = _sent(page, f"{file.as_uri()}#of=second+%26+%3Cb%3E&order={order}&find=0000")
        assert _names(sent)[-1] == measured.names[3]


def test_the_table_by_category_counts_failures_and_links_to_them(visit, made):
    file, measured = made
    page = visit(file, **DESK)
    limits = np.array([[failure.threshold] for failure in FAILURES])
    shown = measured.failures[0] > limits
    rows = page.locator("#categories tbody tr")
    assert rows.count() == 1 + len(CATEGORIES)
    row = rows.filter(has_text="cats")
    for column, mode in enumerate(MODES):
        count = int(row.locator("td").nth(2 + column).locator("a").inner_text())
        # Values at the threshold may differ by their rounding.
        assert count == pytest.approx(shown[column, 1::4].sum(), abs=25), mode
    link = row.locator("td a").last
    count = link.inner_text()
    link.click()
    page.wait_for_function("document.querySelector('[name=category]').value === 'cats'")
    assert page.locator("[name=failure]").input_value() == MODES[-1]
    assert page.locator("output").inner_text() == f"{count} of 5,000 images."
    page.go_back()
    page.wait_for_function("document.querySelector('[name=category]').value === ''")


def test_the_keyboard_reaches_and_opens_every_image(visit, made):
    file, measured = made
    page = visit(file, **DESK)
    page.select_option("[name=sort]", "name")
    page.locator(".entry").first.focus()
    columns = page.evaluate(
        "[...document.querySelectorAll('.entries li')].filter((li, _, all) =>"
        " li.offsetTop === all[0].offsetTop).length"
    )
    names = sorted(measured.names)
    for key, expected in (("Right", 1), ("Down", 1 + columns), ("Left", columns), ("Up", 0)):
        page.keyboard.press(f"Arrow{key}")
        assert _focused(page) == names[expected]
    for _ in range(70 // columns + 1):  # past the first entries
        page.keyboard.press("ArrowDown")
    assert _focused(page) == names[columns * (70 // columns + 1)]
    # Tab leaves the grid after one entry, and comes back to it.
    here = _focused(page)
    page.keyboard.press("Tab")
    assert _focused(page) != here
    page.keyboard.press("Shift+Tab")
    assert _focused(page) == here

    page.fill("[name=find]", "/0000")
    page.locator(".entry").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('dialog img').naturalWidth > 0")
    found = [name for name in names if "/0000" in name]
    assert dialog.locator(".caption").inner_text() == found[1]
    assert "image=" in page.url
    opened = _sent(page, page.url)
    assert opened.locator("dialog .caption").inner_text() == found[1]
    page.keyboard.press("Escape")
    # Closing is an event, which comes a moment later.
    page.wait_for_function("name => document.activeElement.dataset.name === name", arg=found[1])
    assert not dialog.is_visible()
    assert "image=" not in page.url


@pytest.mark.parametrize("width", [360, 400])
def test_nothing_is_wider_than_a_phone(visit, made, width):
    file, _ = made
    page = visit(file, **PHONE | {"viewport": {"width": width, "height": 740}})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.fill("[name=find]", "/0000")  # their sheets exist
    page.wait_for_function(f"{PIXELS} > 0")
    page.locator(".entry").first.tap()
    assert page.locator("dialog").is_visible()
