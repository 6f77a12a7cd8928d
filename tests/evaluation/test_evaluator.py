from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.evaluation import evaluate_batches
from lightning_colorize.evaluation.evaluator import measure_systems
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics.spec import NAMES, SAMPLED
from lightning_colorize.models.baseline import BaselineModel
from tests.evaluation.stubs import LargestError, Obeys, Predicts


def _half(ab):
    return ab / 2


def _batches(sizes):
    generator = torch.Generator().manual_seed(3)
    for number, size in enumerate(sizes):
        L, ab = to_lab(0.2 + 0.6 * torch.rand(size, 3, 16, 12, generator=generator))
        yield ColorBatch(L, ab, [f"{'ab'[i % 2]}/{number}-{i}.png" for i in range(size)])


def test_groups_hold_their_own_images_only():
    batches = list(_batches([3, 2]))
    model = Predicts(batches, _half, {"largest": LargestError()})
    result = evaluate_batches(model, batches, lambda name: name[0])
    assert list(result.rows) == ["model"]
    assert result.counts == {"a": 3, "b": 2}
    largest = {}
    for name, chosen in (("a", [(0, 0), (0, 2), (1, 0)]), ("b", [(0, 1), (1, 1)])):
        mse = np.mean([(batches[b].ab[i] / 2).square().mean() for b, i in chosen])
        assert result.groups[name]["model"]["mse_ab"] == pytest.approx(mse, rel=1e-5)
        largest[name] = max(batches[b].ab[i].abs().max().item() / 2 for b, i in chosen)
        assert result.groups[name]["model"]["largest"] == pytest.approx(largest[name], rel=1e-5)
    assert largest["a"] != largest["b"]
    assert result.rows["model"]["largest"] == pytest.approx(max(largest.values()), rel=1e-5)


def test_baselines_are_colorized_only_for_a_table_that_shows_them(monkeypatch):
    monkeypatch.setattr(BaselineModel, "predict", None)
    batches = list(_batches([3]))
    assert list(evaluate_batches(Predicts(batches, _half), batches).rows) == ["model"]
    system = System("half", Path("half"), Predicts(batches, _half))
    assert measure_systems([system], iter(batches), 16, truth=False).rows == ["half"]


def test_samples_add_their_metrics_for_all_rows():
    (batch,) = _batches([5])
    systems = [System("noise", Path("noise"), Obeys(noise=10))]
    systems += [System("half", Path("half"), Predicts([batch], _half))]

    result = measure_systems(systems, iter([batch]), 16, samples=3)
    names = [metric.name for metric in SAMPLED]
    rows = result.table()
    assert [*rows["grey"]] == [*NAMES, *names]
    norm = batch.ab.square().sum(1).mean((1, 2)).sqrt().mean().item()
    assert rows["grey"]["energy"] == pytest.approx(norm, rel=1e-5)
    assert rows["half"]["energy"] == pytest.approx(norm / 2, rel=1e-5)
    assert np.isnan([rows[row]["sample_diversity"] for row in ("half", "grey")]).all()
    energy = result.intervals()["noise"]["energy"]
    assert energy["low"] < energy["value"] == pytest.approx(rows["noise"]["energy"])
