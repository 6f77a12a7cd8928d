import pytest

from lightning_colorize.metrics import spec


def test_metric_goal():
    names = ("val/psnr", "ciede2000", "val/loss", "val/colorfulness", "train/unknown")
    assert [spec.metric_goal(name) for name in names] == ["max", "min", "min", None, None]
    assert [spec.cost(2.0, goal) for goal in ("max", "min")] == [-2, 2]


@pytest.mark.parametrize(
    ("higher_is_better", "goal", "end"),
    [(True, "max", "; higher is better"), (False, "min", "; lower is better"), (None, None, "")],
)
def test_goal_of_a_custom_metric(higher_is_better, goal, end):
    metric = spec.Metric.custom("mine", higher_is_better)
    assert metric.goal == goal
    assert metric.full_help == f"{metric.help}{end}"
