from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.evaluation.evaluator import Results, measure
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.systems import Prediction
from lightning_colorize.metrics.spec import COLUMNS
from tests.evaluation.stubs import LargestError, Predicts


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(4)
    L, ab = to_lab(0.2 + 0.6 * torch.rand(3, 3, 16, 12, generator=generator))
    return ColorBatch(L, ab, ["a.jpg", "b.jpg", "c.jpg"])


def _measure(rows, batches, show=lambda *_: None, **options):
    """Measure rows, functions from a batch to its colored copy, by name."""

    def predict(batch):
        colored = [color(batch) for color in rows.values()]
        grey = replace(batch, ab=0 * batch.ab)
        return [Prediction(each.L, each.ab[None]) for each in (*colored, grey)]

    return measure(Results([*rows], ["grey"]), iter(batches), predict, show, **options)


def test_a_changed_lightness_counts_as_error(batch):
    result = _measure({"darker": lambda b: replace(b, L=b.L - 10)}, [batch])
    values = dict(zip(COLUMNS, result.values[0], strict=True))
    assert values["mse_ab"].max() == 0
    assert values["psnr"].max() < 25


def test_rows_columns_and_images_keep_their_order(batch):
    systems = {"half": lambda b: replace(b, ab=b.ab / 2), "truth": lambda b: b}
    shown = []
    result = _measure(systems, [batch], lambda *row: shown.append(row))
    assert result.rows == ["half", "truth", "grey"]
    assert result.names == batch.names
    assert result.values.shape == (3, len(COLUMNS), 3)
    mse = result.values[:, COLUMNS.index("mse_ab")]
    energy = batch.ab.square().mean(dim=(1, 2, 3)).numpy()
    np.testing.assert_allclose(mse, [energy / 4, 0 * energy, energy], rtol=1e-5)
    for i, (name, values) in enumerate(shown):
        assert name == batch.names[i]
        np.testing.assert_allclose(values.numpy(), result.values[:2, :, i], rtol=1e-6)


def test_disagreement_is_the_distance_from_the_mean_of_all(batch):
    left, right = (lambda b: replace(b, ab=b.ab + 3)), (lambda b: replace(b, ab=b.ab - 3))
    result = _measure({"left": left, "right": right}, [batch])
    assert result.disagreement == pytest.approx(3 * 2**0.5, rel=1e-4)
    alone = _measure({"left": left}, [batch])
    assert alone.disagreement.max() == 0

    # Colors that are not finite are counted and do not affect other systems.
    def diverged(b):
        ab = b.ab.clone()
        ab[1, 0, 3, 4] = torch.nan
        return replace(b, ab=ab)

    lost = {"diverged": lambda b: replace(b, ab=b.ab * torch.nan), "once": diverged}
    result = _measure({"left": left, "right": right} | lost, [batch])
    assert +result.undefined == {"diverged": 3, "once": 1}
    assert np.isfinite(result.disagreement).all()
    assert result.disagreement.min() > 2


def test_failures_are_measured_of_each_system_in_the_same_batches(batch):
    systems = {"truth": lambda b: b, "pale": lambda b: replace(b, ab=b.ab / 10)}
    batches = [batch.chosen(range(i, 3)) for i in (0, 1)]
    result = _measure(systems, batches)
    assert result.failures.shape == (2, len(FAILURES), 5)
    np.testing.assert_allclose(result.failures[:, 0], [[0] * 5, [0.9] * 5], atol=1e-5)
    assert _measure(systems, batches, truth=False).failures is None


def test_everything_measured_is_the_mean_over_colorings(batch):

    def measured(*shares):
        def predict(batch):
            return [Prediction(batch.L, torch.stack([batch.ab * share for share in shares]))]

        model = Predicts([], None, {"largest": LargestError()})
        return measure(Results(["drawn"], []), [batch], predict, ranges=True, models=[model])

    whole, *alone = measured(1.0, 0.5, 0.0), measured(1.0), measured(0.5), measured(0.0)
    for name in ("values", "failures", "ranges", "colors"):
        means = np.mean([getattr(each, name) for each in alone], axis=0)
        np.testing.assert_allclose(getattr(whole, name), means, rtol=1e-6)
    largest = [each.custom_values[None].item() for each in (whole, *alone)]
    assert largest[0] == max(largest[1:]) > largest[1] == 0
