from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.measured import measure_systems
from lightning_colorize.metrics.spec import COLUMNS


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(4)
    L, ab = to_lab(0.2 + 0.6 * torch.rand(3, 3, 16, 12, generator=generator))
    return ColorBatch(L, ab, ["a.jpg", "b.jpg", "c.jpg"])


class Stub:
    """A system that returns the given colors."""

    def __init__(self, name, colored, broken=()):
        self.name = name
        self.colored = colored
        self.broken = broken

    def load(self, names, side):
        return [ImageError(name, "broken") for name in self.broken if name in names]

    def color(self, batch):
        return self.colored(batch)


def _rgb(L, ab):
    return lab2rgb(torch.cat([L, ab], dim=0).permute(1, 2, 0).double().numpy())


def measured(batch, color):
    """Return the values of one system's images by metric."""
    result = measure_systems([Stub("one", color)], [batch], lambda name, values: None)
    return dict(zip(COLUMNS, result.values[0], strict=True))


def test_a_changed_lightness_counts_as_error(batch):
    darker = replace(batch, L=batch.L - 10)
    values = measured(batch, lambda b: darker)
    assert values["mse_ab"].max() == 0
    for i in range(3):
        predicted, truth = _rgb(darker.L[i], darker.ab[i]), _rgb(batch.L[i], batch.ab[i])
        psnr = peak_signal_noise_ratio(truth, predicted, data_range=1)
        assert values["psnr"][i] == pytest.approx(psnr, abs=0.01)
        delta = deltaE_ciede2000(rgb2lab(truth), rgb2lab(predicted)).mean()
        assert values["ciede2000"][i] == pytest.approx(delta, abs=0.05)


def test_rows_columns_and_images_keep_their_order(batch):
    systems = [
        Stub("half", lambda b: replace(b, ab=b.ab / 2)),
        Stub("truth", lambda b: replace(b, ab=b.ab)),
    ]
    shown = []
    result = measure_systems(systems, [batch], lambda *row: shown.append(row))
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
    systems = [
        Stub("left", lambda b: replace(b, ab=b.ab + 3)),
        Stub("right", lambda b: replace(b, ab=b.ab - 3)),
    ]
    result = measure_systems(systems, [batch], lambda *_: None)
    assert result.disagreement == pytest.approx(3 * 2**0.5, rel=1e-4)
    alone = measure_systems(systems[:1], [batch], lambda *_: None)
    assert alone.disagreement.max() == 0


def test_nan_colors_are_counted_and_do_not_affect_other_systems(batch):
    def diverged(b):
        ab = b.ab.clone()
        ab[1, 0, 3, 4] = torch.nan
        return replace(b, ab=ab)

    systems = [
        Stub("left", lambda b: replace(b, ab=b.ab + 3)),
        Stub("right", lambda b: replace(b, ab=b.ab - 3)),
        Stub("diverged", lambda b: replace(b, ab=b.ab * torch.nan)),
        Stub("once", diverged),
    ]
    result = measure_systems(systems, [batch], lambda *_: None)
    assert result.undefined == {"diverged": 3, "once": 1}
    assert np.isfinite(result.disagreement).all()
    assert result.disagreement.min() > 2


def test_failures_are_measured_of_each_system_in_the_same_batches(batch):
    systems = [Stub("truth", lambda b: b), Stub("pale", lambda b: replace(b, ab=b.ab / 10))]
    parts = [replace(batch, L=batch.L[i:], ab=batch.ab[i:], names=batch.names[i:]) for i in (0, 1)]
    result = measure_systems(systems, parts, lambda *_: None)
    assert result.failures.shape == (2, len(FAILURES), 5)
    np.testing.assert_allclose(result.failures[:, 0], [[0] * 5, [0.9] * 5], atol=1e-5)
    assert measure_systems(systems, parts, lambda *_: None, truth=False).failures is None
