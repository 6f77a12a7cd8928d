import pytest

from lightning_colorize.metrics import spec


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("val/psnr", "max"),
        ("ciede2000", "min"),
        ("val/loss", "min"),
        ("val/colorfulness", None),
        ("train/unknown", None),
    ],
)
def test_metric_goal(name, goal):
    assert spec.metric_goal(name) == goal


@pytest.mark.parametrize(
    ("higher_is_better", "goal", "end"),
    [(True, "max", "; higher is better"), (False, "min", "; lower is better"), (None, None, "")],
)
def test_goal_of_a_custom_metric(higher_is_better, goal, end):
    metric = spec.Metric.own("mine", higher_is_better)
    assert metric.goal == goal
    assert metric.full_help == f"{metric.help}{end}"
