from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def conftest(pytestconfig):
    """The hooks of these tests, as pytest loaded them."""
    return pytestconfig.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))


def outcome_of_a_skip(conftest, monkeypatch, required, *markers):
    monkeypatch.setattr(conftest, "REQUIRED", set(required))
    item = SimpleNamespace(iter_markers=lambda: [SimpleNamespace(name=name) for name in markers])
    report = SimpleNamespace(skipped=True, outcome="skipped", longrepr="no Chromium")
    hook = conftest.pytest_runtest_makereport(item, None)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(report)
    return report


def test_skips_that_are_required_to_run_fail(conftest, monkeypatch):
    report = outcome_of_a_skip(conftest, monkeypatch, ["browser"], "slow", "browser")
    assert report.outcome == "failed"
    assert "no Chromium" in report.longrepr


def test_other_skips_stay_skips(conftest, monkeypatch):
    assert outcome_of_a_skip(conftest, monkeypatch, ["browser"], "slow").outcome == "skipped"
    assert outcome_of_a_skip(conftest, monkeypatch, [], "slow").outcome == "skipped"


def test_a_marker_that_there_is_not_is_refused(conftest, monkeypatch):
    monkeypatch.setattr(conftest, "REQUIRED", {"browzer"})
    config = SimpleNamespace(getini=lambda name: ["browser: needs Chromium"])
    with pytest.raises(pytest.UsageError, match=r"browzer.*browser"):
        conftest.pytest_configure(config)
