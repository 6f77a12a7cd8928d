"""The fragments of experiments/gpu/ on a CPU."""

from pathlib import Path

import pytest
import torch
import yaml

from lightning_colorize.runs.folder import flatten
from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands
from tests.tasks.conftest import GanCommands

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SINGLE = sorted(path for path in (EXPERIMENTS / "gpu").glob("*.yaml") if path.stem != "all")


def switched(path):
    return flatten(yaml.safe_load(path.read_text()))


def test_all_is_every_fragment():
    names = ["compile", "decode", "reduce_overhead", "tf32"]
    assert [path.stem for path in SINGLE] == names
    together = {}
    for path in SINGLE:
        together |= switched(path)
    assert switched(EXPERIMENTS / "gpu" / "all.yaml") == together


def parsed(parser, *paths):
    """Return a configuration, flat."""
    words = [word for path in paths for word in ("--config", str(path))]
    return flatten(parser.parse_args(words).as_dict())


@pytest.mark.parametrize(
    ("fragment", "system"),
    [(path.stem, "cgan_pix2pix") for path in SINGLE]
    + [("all", system) for system in ("cnn_unet", "cgan_pix2pix", "flow")],
)
def test_fragment_changes_only_its_switch(parser, fragment, system):
    system, path = EXPERIMENTS / f"{system}.yaml", EXPERIMENTS / "gpu" / f"{fragment}.yaml"
    before, after = parsed(parser, system), parsed(parser, system, path)
    expected = switched(path)
    callbacks = expected.pop("trainer.callbacks+", [])
    names = [item["class_path"] for item in after["trainer.callbacks"] or []]
    assert names == [item["class_path"] for item in callbacks]
    assert {key: after[key] for key in expected} == expected
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    changed = {name for name in changed if not name.startswith(("config", "trainer.callbacks"))}
    assert changed == {key for key, value in expected.items() if before.get(key) != value}


def test_tf32_fragment_keeps_other_callbacks(parser):
    words = ["--trainer.callbacks+=EMAWeightAveraging", "--config", EXPERIMENTS / "gpu/tf32.yaml"]
    config = parser.parse_args(["--config", f"{EXPERIMENTS}/cnn_unet.yaml", *map(str, words)])
    names = [item.class_path.rpartition(".")[2] for item in config.trainer.callbacks]
    assert names == ["EMAWeightAveraging", "TF32"]


@pytest.mark.parametrize(
    "kind", [Commands, pytest.param(GanCommands, marks=pytest.mark.slow)], ids=["cnn", "gan"]
)
def test_all_gpu_fragments_run_on_a_cpu(kind, photo_folder, tmp_path, monkeypatch):
    # Compiled networks have their own tests.
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    command = kind(photo_folder, tmp_path)
    everything = ["--config", EXPERIMENTS / "gpu" / "all.yaml", "--trainer.precision", "32-true"]
    cached = command.fit("cached", *everything)
    decoded = command.fit("decoded", *everything, "--data.cache", "never")
    usual = command.fit("usual", "--trainer.precision", "32-true")
    results = [RunResult.read(run) for run in (cached, decoded, usual)]
    assert [result.status for result in results] == ["finished"] * 3
    # The same images in the same order.
    losses = [result.metrics["val/psnr"] for result in results]
    assert losses[0] == pytest.approx(losses[2], abs=0.01)
    # Some were twice as large as needed: the CPU takes a half of their resolution.
    assert losses[1] == pytest.approx(losses[2], abs=0.2)
