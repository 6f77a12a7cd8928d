"""The contract of models: draws, settings of any type, devices, and what a file may build."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, model_validator

from lightning_colorize.cli import main
from lightning_colorize.color import NO_CONDITION, ColorBatch, Condition
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.grid import parse_grid
from lightning_colorize.evaluation.systems import System
from lightning_colorize.inference import Colorizer
from lightning_colorize.losses import L1
from lightning_colorize.metrics import Baselines
from lightning_colorize.models.base import Model
from lightning_colorize.models.baseline import BaselineModel
from lightning_colorize.models.load import load_model
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.routed import RoutedModel
from lightning_colorize.models.settings import Settings, describe_values
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.networks.router import Router
from lightning_colorize.tasks import RegressionTask


class ToneSettings(Settings):
    tone: Literal["warm", "cold"] = "warm"
    grain: Annotated[float, Field(ge=0, json_schema_extra={"step": 1})] = 0
    paper: Annotated[float, Field(ge=0, le=1, json_schema_extra={"unit": "mm"})] = 0

    @model_validator(mode="after")
    def _fits(self):
        if self.tone == "cold" and self.grain:
            raise ValueError("cold tones have no grain")
        return self


class Drawn(Model):
    """Random numbers for each pixel, and no way to build it with `broken`."""

    draws = True
    settings = ToneSettings()

    def __init__(self, broken: bool = False) -> None:
        if broken:
            raise OSError("no weights")

    def predict(self, L, condition):
        return L.shape[-2:]

    def colors(self, prediction, settings: Any, n=1, generators=()):
        sign = 1 if settings.tone == "warm" else -1
        drawn = [torch.randn(n, 2, *prediction, generator=each) for each in generators]
        return torch.stack(drawn, dim=1) * sign


def _lightness(count):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 100


def test_each_image_has_its_own_draws_in_any_batch():
    model, L = Drawn(), _lightness(3)
    together = model.color(L, n=2)
    for i in range(3):
        assert torch.equal(model.color(L[[i]], n=2), together[:, [i]])
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[0], together[1])
    other = model.color(L, n=2, generators=model.generators(L, seed=1))
    assert not torch.equal(other, together)


def test_the_mirror_image_has_the_same_draws():
    model, L = Drawn(), _lightness(1)
    ab = model.color(L)
    flipped = model.color(L, settings=model.settings.updated({"flip": True}))
    torch.testing.assert_close(flipped, (ab + ab.flip(-1)) / 2)


def test_a_setting_may_be_a_word_and_needs_neither_limits_nor_a_step():
    model = Drawn()
    grid = parse_grid(["tone=warm,cold"], model)
    assert [describe_values(each) for each in grid] == ["tone warm", "tone cold"]
    with pytest.raises(UsageError, match="tone must be 'warm' or 'cold', not hot"):
        parse_grid(["tone=hot"], model)
    with pytest.raises(UsageError, match=r"^cold tones have no grain$"):
        model.settings.updated({"tone": "cold", "grain": 2})
    assert [*model.settings.sliders()] == ["strength"]  # others lack a step or a limit


def test_every_kind_of_model_moves_with_its_baselines():
    model, other = (RegressionTask(ConvEncoder([4, 8]), L1()).to_model() for _ in range(2))
    routed = RoutedModel(model.network, model.scaling, Router(8, ["a"]), {"a": other.network})
    for each in (model, routed, BaselineModel("mean", Baselines()), Drawn()):
        each.baselines = Baselines()
        assert each.to(torch.device("meta")) is each
        weights = each.state_dict() if isinstance(each, NetworkModel) else {}
        tensors = [each.baselines.mean_ab, *weights.values()]
        assert {each.device.type, *(tensor.device.type for tensor in tensors)} == {"meta"}


def test_L_comes_on_the_models_device():
    class Elsewhere(Model):
        def predict(self, L, condition):
            assert L.device.type == "meta"
            assert condition == NO_CONDITION  # `colorize` cannot be given one
            return torch.ones(len(L), 2, *L.shape[-2:])

    model, L = Elsewhere(), _lightness(2)
    model.to(torch.device("meta"))
    labels = Condition(torch.tensor([0, 1]))
    batch = ColorBatch(L, torch.zeros(2, 2, 8, 8), ["a", "b"], condition=labels)
    painted = System("elsewhere", Path("elsewhere"), model).predict(batch)
    assert painted.ab.unique().tolist() == [1]


def test_a_file_builds_no_model_without_consent(tmp_path):
    file = tmp_path / "own.yaml"
    for name in ("folder.FolderModel", "baseline.BaselineModel"):
        file.write_text(f"class_path: lightning_colorize.models.{name}\n")
        with pytest.raises(UsageError, match="refused"):
            load_model(file)


def test_a_model_made_in_python_has_a_card(finished_run, tmp_path):
    model = load_model(finished_run)
    model.path = None
    Colorizer(model).save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "ConvEncoder" in card
    assert f"a short side of {model.size} pixels" in card
    assert Colorizer.from_pretrained(tmp_path / "saved").size == model.size


@pytest.mark.parametrize("option", ["--steps=2", "--form=2", "--self=1"])
def test_options_of_own_settings_reach_the_model(option, photo_folder, capsys):
    assert main(["evaluate", "default", "--data", str(photo_folder), option]) == 2
    name = option.partition("=")[0][2:]
    assert f"no setting {name}; this model has" in capsys.readouterr().err
