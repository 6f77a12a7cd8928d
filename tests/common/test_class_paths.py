import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_colorize.common.class_paths import Trust, build
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.sources import Source
from lightning_colorize.losses import L1, WeightedSum
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.tasks import ColorizationTask, RegressionTask

_TRAP = "lightning_colorize_trap"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file behind when it is imported."""
    sprung = tmp_path / "sprung"
    text = (
        "from pathlib import Path\n"
        f"Path({str(sprung)!r}).touch()\n"
        "from lightning_colorize.networks import ConvEncoder\n"
        "class Trap(ConvEncoder): pass\n"
    )
    (tmp_path / f"{_TRAP}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield sprung
    sys.modules.pop(_TRAP, None)


def _of(class_path, **arguments):
    return {"class_path": class_path, "init_args": arguments}


def _spec(class_path="lightning_colorize.tasks.RegressionTask", **changes):
    encoder = _of("lightning_colorize.networks.ConvEncoder", widths=[4, 8])
    arguments = {"encoder": encoder, "loss": _of("lightning_colorize.losses.L1")}
    return _of(class_path, **arguments | changes)


def build_task(spec, allow=()):
    return build(spec, ColorizationTask, Trust(allow))


def test_builds_objects_factories_and_nested_specs():
    losses = {"losses": {"l1": _of("lightning_colorize.losses.L1")}, "weights": {"l1": 3.0}}
    task = build_task(
        _spec(
            loss=_of("lightning_colorize.losses.WeightedSum", **losses),
            optimizer=_of("torch.optim.SGD", lr=0.25),
            scheduler=_of("torch.optim.lr_scheduler.StepLR", step_size=7),
            encoder_lr_ratio=0.5,
        )
    )
    assert type(task) is RegressionTask
    assert type(task.net.encoder) is ConvEncoder
    assert task.net.encoder.info.channels == (4, 8)
    assert type(task.loss) is WeightedSum
    assert type(task.loss.losses["l1"]) is L1
    assert task.loss.weights == {"l1": 3.0}
    # The default SchedulerFactory is optional, the optimizer's is not: both stay factories.
    optimizer = task.optimization.optimizer([nn.Parameter(torch.zeros(1))])
    assert isinstance(task.optimization.scheduler, partial)
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert task.optimization.scheduler(optimizer).step_size == 7
    assert task.optimization.encoder_lr_ratio == 0.5


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "torch.hub.load",
        "lightning_colorize_trap.Trap",
        "torch.optimist.Adam",
        "lightning_colorize.cli.main",
    ],
)
def test_other_class_paths_are_refused_before_anything_is_imported(path, trap):
    for changes in (
        {"class_path": path},
        {"encoder": _of(path)},
        {"loss": _of("lightning_colorize.losses.L1", x=[[_of(path)]])},
    ):
        with pytest.raises(UsageError, match=f"refused: {path};.*--allow-class {path}"):
            build_task(_spec(**changes))
    assert not trap.exists()
    assert _TRAP not in sys.modules


@pytest.mark.parametrize("text", [f"{_TRAP}.Trap", f'{{"class_path": "{_TRAP}.Trap"}}'])
def test_a_string_is_never_taken_for_a_class(text, trap):
    """jsonargparse, with which Lightning rebuilds checkpoints, would import both."""
    with pytest.raises((AttributeError, TypeError)):
        build_task(_spec(encoder=text))
    assert not trap.exists()


def test_classes_that_our_modules_import_from_elsewhere_are_refused():
    path = "lightning_colorize.networks.encoders.weights.Path"
    with pytest.raises(UsageError, match=r"source, so refused: \S*weights\.Path;"):
        build_task(_spec(encoder=_of(path)))


@pytest.mark.parametrize("allowed", [f"{_TRAP}.Trap", _TRAP])
def test_a_class_is_allowed_by_its_name_or_its_module(allowed, trap):
    task = build_task(_spec(encoder=_of(f"{_TRAP}.Trap", widths=[4, 8])), [allowed])
    assert type(task.net.encoder).__name__ == "Trap"
    assert trap.exists()


def test_allowing_one_class_allows_no_other():
    message = r"refused: other\.Class; if you trust them, add --allow-class other\.Class$"
    with pytest.raises(UsageError, match=message):
        build_task(_of("other.Class"), ["other.Cl", "another.Class"])


def test_a_removed_class_is_an_import_error():
    with pytest.raises(ImportError, match=r"networks\.Gone"):
        build_task(_spec(encoder=_of("lightning_colorize.networks.Gone")))


def test_a_source_has_its_paths_and_the_settings_of_its_folders():
    path = "lightning_colorize.data.sources.MixtureSource"
    folders = [{"root": "a", "weight": 2.0, "exclude_list": "b.txt", "include": ["*.png"]}]
    (folder,) = build(_of(path, folders=folders), Source, Trust()).folders
    assert (folder.root, folder.exclude_list) == (Path("a"), Path("b.txt"))
    assert (folder.weight, folder.include, folder.splits) == (2.0, ["*.png"], None)
    (folder,) = build(_of(path, folders={"c": 3.0}), Source, Trust()).folders
    assert (folder.root, folder.weight) == (Path("c"), 3.0)


def test_a_class_that_is_not_a_source_is_refused():
    with pytest.raises(UsageError, match="is not a Source"):
        build(_of("lightning_colorize.losses.L1"), Source, Trust())
