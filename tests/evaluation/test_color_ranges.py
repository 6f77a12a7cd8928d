import numpy as np
import pytest
import torch
from PIL import ImageColor
from scipy.spatial.distance import cdist
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.color.bins import bin_centers
from lightning_colorize.evaluation import evaluate_batches
from lightning_colorize.evaluation.color_ranges import CHROMAS, HUES, count_colors, diversity
from tests.evaluation.stubs import Predicts


def _named(*names, side=4):
    """One image of a stripe for each named color, at the side of a grey one."""
    colors = [ImageColor.getrgb(name) for name in (*names, "grey")]
    rgb = torch.tensor(colors).T.reshape(1, 3, 1, -1).expand(1, 3, side, -1) / 255
    return ColorBatch(*to_lab(rgb), ["image"])


NAMES = {
    "red": "red darkred crimson firebrick salmon",
    "orange": "orange darkorange chocolate tan peachpuff",
    "yellow": "yellow gold khaki olive",
    "green": "green lime forestgreen seagreen chartreuse",
    "cyan": "cyan teal turquoise",
    "blue": "blue navy skyblue royalblue steelblue",
    "purple": "purple indigo violet plum",
    "pink": "pink hotpink deeppink palevioletred",
}


def test_named_colors_are_in_the_sector_of_their_hue():
    batch = _named(*" ".join(NAMES.values()).split())
    parts = evaluate_batches(Predicts([batch], torch.clone), [batch]).hue
    assert np.isnan(parts[0].rows["model"]["ciede2000"]["low"])  # of a single image
    counts = {part.name: round(part.share * batch.L.shape[-1]) for part in parts}
    assert counts == {"grey": 1} | {hue: len(names.split()) for hue, names in NAMES.items()}


def _pixels(L, ab):
    return lab2rgb(torch.cat([L, ab], dim=1).movedim(1, -1).double().numpy())


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_figures_are_those_of_a_computation_pixel_by_pixel(photographs):
    L, ab = to_lab(photographs[:6])
    batches = [ColorBatch(L[:4], ab[:4], ["a"] * 4), ColorBatch(L[4:], ab[4:], ["b"] * 2)]

    def change(ab):
        return ab.flip(-1) * 0.8 + 3

    result = evaluate_batches(Predicts(batches, change), batches)
    true, predicted = rgb2lab(_pixels(L, ab)), rgb2lab(_pixels(L, change(ab)))
    error = deltaE_ciede2000(true, predicted)
    chroma, chroma_hat = (np.hypot(lab[..., 1], lab[..., 2]) for lab in (true, predicted))
    hue = np.degrees(np.arctan2(true[..., 2], true[..., 1])) % 360
    starts = [*HUES.values()]
    masks = {"grey": chroma < 10}
    for name, low, high in zip(HUES, starts, [*starts[1:], starts[0] + 360], strict=True):
        masks[name] = (chroma >= 10) & ((hue - low) % 360 < high - low)
    assert sum(mask.any() for mask in masks.values()) > 6
    for low, high in zip(CHROMAS, [*CHROMAS[1:], np.inf], strict=True):
        masks[low] = (chroma >= low) & (chroma < high)
    for part, mask in zip((*result.hue, *result.chroma), masks.values(), strict=True):
        assert part.share == pytest.approx(mask.mean(), abs=2e-4), part
        assert part.images == pytest.approx(mask.any(axis=(1, 2)).sum(), abs=1), part
        if mask.sum() < 50:
            continue
        figures = part.rows["model"]
        assert part.chroma == pytest.approx(chroma[mask].mean(), abs=0.02)
        assert figures["ciede2000"]["value"] == pytest.approx(error[mask].mean(), abs=0.02), part
        difference = (chroma_hat - chroma)[mask].mean()
        assert figures["chroma_difference"]["value"] == pytest.approx(difference, abs=0.03), part
        assert figures["ciede2000"]["low"] <= figures["ciede2000"]["value"]
        assert figures["ciede2000"]["value"] <= figures["ciede2000"]["high"]

    entropies = []
    for lab in (predicted, true):
        nearest = cdist(lab[..., 1:].round().reshape(-1, 2), bin_centers().numpy()).argmin(1)
        shares = np.bincount(nearest) / len(nearest)
        entropies.append(-sum(p * np.log(p) for p in shares if p))
    expected = np.exp(entropies[0] - entropies[1])
    assert result.colors.color_diversity == pytest.approx(expected, rel=0.03)


def test_diversity_is_the_share_of_equally_frequent_colors():
    def counts(*colors):
        return count_colors(torch.tensor(colors).T.reshape(1, 2, 1, -1)).numpy()

    four = counts((0.0, 0.0), (40, 0), (0, 40), (40, 40))
    one = counts(*[(20.0, 20)] * 4)
    assert diversity(np.stack([one, four])) == pytest.approx(1 / 4)
    assert diversity(np.stack([four, four])) == pytest.approx(1)
    lost = count_colors(torch.full((1, 2, 2, 2), torch.nan)).numpy()
    assert np.isnan(diversity(np.stack([lost, four])))


def test_bleeding_and_diversity_of_each_category():
    # A light, orange half beside a dark, blue one: an edge.
    left = (torch.arange(64) < 32).float().expand(2, 1, 64, 64)
    edge = ColorBatch(
        30 + 40 * left, torch.cat([30 * left - 10, 40 * left - 20], dim=1), ["edge", "edge too"]
    )
    flat = ColorBatch(0 * left + 50, 0 * edge.ab + 20, ["flat", "flat too"])

    def blur(ab):
        return torch.nn.functional.avg_pool2d(ab, (1, 9), 1, (0, 4), count_include_pad=False)

    batches = [edge, flat]
    result = evaluate_batches(Predicts(batches, blur), batches, lambda name: name.split()[0])
    assert result.group_colors["edge"].bleeding > 3.5
    assert result.group_colors["edge"].color_diversity > 1
    assert result.colors.bleeding == pytest.approx(result.group_colors["edge"].bleeding)
    assert result.colors.images_with_edges == 2
    assert np.isnan(result.group_colors["flat"].bleeding)
    assert result.group_colors["flat"].color_diversity == pytest.approx(1)
