import pytest
import torch

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation import evaluate_batches
from lightning_colorize.evaluation.grid import Grid, evaluate_grid, parse_grid
from lightning_colorize.losses import L1, CrossEntropy
from lightning_colorize.metrics.spec import COLUMNS, NAMES
from lightning_colorize.networks import ClassificationHead, ConvEncoder
from lightning_colorize.tasks import RegressionTask


def _model(loss):
    torch.manual_seed(0)
    task = RegressionTask(ConvEncoder([8, 8]), loss).eval()
    for parameter in task.net.head.parameters():
        torch.nn.init.normal_(parameter)
    if isinstance(task.net.head, ClassificationHead):  # weights that vividness can take out
        task.net.head.bins.update(torch.randn(1, 2, 64, 64) * 20)
        task.net.head.bins.finish()
    return task.to_model()


def _batches(count=2):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        rgb = torch.rand(3, 3, 8, 8, generator=generator)
        L, ab = to_lab(torch.nn.functional.interpolate(rgb, size=32, mode="bilinear"))
        yield ColorBatch(L, ab, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (CrossEntropy, ["vividness=0,1", "temperature=0.38,1", "flip=0,1"]),
        (L1, ["strength=0.5,1.5", "flip=0,1"]),
    ],
)
def test_every_setting_is_measured_as_if_it_were_alone(loss, words):
    model = _model(loss())
    settings = parse_grid(words, model)
    own = model.settings
    grid = evaluate_grid(model, _batches(), settings)
    assert model.settings == own
    assert len({tuple(row.values()) for row in grid.rows}) == len(settings) == len(grid.rows)
    for setting, row in zip(settings, grid.rows, strict=True):
        model.settings = model.settings.updated(setting)
        alone = evaluate_batches(model, _batches()).rows["model"]
        assert row == pytest.approx({name: alone[name] for name in NAMES}, rel=1e-4, abs=1e-4)
    assert grid.images == 6
    assert set(grid.baselines) == {"grey"}
    assert grid.baselines["grey"]["colorfulness"] == pytest.approx(0, abs=0.01)


def test_another_size_is_what_the_network_sees_of_the_same_image():
    model = _model(L1())
    seen = []
    model.network.register_forward_pre_hook(lambda net, args: seen.append(args[0].shape[-1]))
    grid = evaluate_grid(model, _batches(1), parse_grid(["size=16,32"], model))
    assert seen == [16, 32]
    assert grid.rows[0]["psnr"] != grid.rows[1]["psnr"]
    # The truth is the same image at the same size.
    truth = [i for i, name in enumerate(COLUMNS) if name.startswith("true")]
    assert truth
    assert (grid.values[0, truth] == grid.values[1, truth]).all()


def _grid(*rows):
    names = ("ciede2000", "colorfulness_ratio")
    settings = [{"strength": float(i)} for i in range(len(rows))]
    return Grid(settings, [dict(zip(names, row, strict=True)) for row in rows], {}, torch.zeros(0))


def test_the_front_has_what_no_other_setting_beats():
    # Too colorful counts as far from the truth as too pale, and nan is never shown.
    nan = float("nan")
    grid = _grid((12.0, 0.8), (11.0, 0.4), (12.5, 0.6), (12.0, 1.3), (11.0, 0.4), (nan, nan))
    assert grid.front() == [1, 4, 0]


def test_the_best_is_the_most_faithful_of_the_colorful():
    grid = _grid((float("nan"), float("nan")), (12.0, 0.8), (11.0, 0.4), (11.5, 0.6))
    assert [grid.best(least) for least in (0.0, 0.5, 0.7)] == [2, 3, 1]
    with pytest.raises(UsageError, match=r"ratio of 0\.9; the most is 0\.800"):
        grid.best(0.9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strength"], "give NAME=VALUE"),
        (["hue=1"], "one of strength, flip, size"),
        (["strength=1", "strength=1.2"], "twice"),
        (["strength=1,"], "strength must be from 0 to 1.5"),
        (["strength=2"], "from 0 to 1.5"),
        (["flip=2"], "flip must be true or false"),
        (["size=0"], "size must be from 1 to 16384 pixels"),
        (["size=1e3"], "size must be whole pixels"),
        (["vividness=0.5"], "one of strength, flip, size"),
    ],
)
def test_a_wrong_grid_is_one_line_before_any_work(words, message):
    with pytest.raises(UsageError, match=message):
        parse_grid(words, _model(L1()))
