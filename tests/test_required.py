from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def conftest(pytestconfig):
    """The hooks of these tests, as pytest loaded them."""
    return pytestconfig.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))


@pytest.mark.parametrize(
    ("required", "markers", "outcome"),
    [
        ({"browser"}, ["slow", "browser"], "failed"),
        ({"browser"}, ["slow"], "skipped"),
        (set(), ["browser"], "skipped"),
    ],
)
def test_skipped_required_tests_fail(conftest, monkeypatch, required, markers, outcome):
    monkeypatch.setattr(conftest, "REQUIRED", required)
    item = SimpleNamespace(iter_markers=lambda: [SimpleNamespace(name=name) for name in markers])
    report = SimpleNamespace(skipped=True, outcome="skipped", longrepr="no Chromium")
    hook = conftest.pytest_runtest_makereport(item, None)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(report)
    assert report.outcome == outcome
    assert "no Chromium" in report.longrepr


def test_an_unknown_marker_is_refused(conftest, monkeypatch):
    monkeypatch.setattr(conftest, "REQUIRED", {"browzer"})
    config = SimpleNamespace(getini=lambda name: ["browser: needs Chromium"])
    with pytest.raises(pytest.UsageError, match=r"browzer.*browser"):
        conftest.pytest_configure(config)
