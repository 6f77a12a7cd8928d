"""Colors that follow the motion from frame to frame, to avoid flicker."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_CARRIED = 0.95  # weight of the carried colors where the motion explains the image
_TOLERANCE = 6.0  # maximum difference in L of a carried pixel

# What indicates a new scene, after the motion: a mean difference in L; or, between dark scenes, a
# change of most of the image, as a share of its contrast. Measured on photographs at 8 to 100 % of
# their brightness: cuts change 0.57 to 1.8 of it, pans and zooms 0.02, fades by a fifth 0.4.
_CUT = 12.0
_SHARE = 0.5
_NOISE = 0.3  # of the change, in L
_CELLS = 16  # per side; grain does not change their means

_RADIUS = 5  # radius in pixels of the window for the optical flow


@dataclass
class FilmProgress:
    """Progress of colorizing a film.

    Attributes:
        frames: Number of colorized frames.
        cuts: Number of scenes after the first.
        corresponding: Number of frames to which a reference corresponds.
        damaged: Number of damaged packets and frames in the file.
        sound_lost: Whether the result lacks sound of the film.
        notes: Information lost in the result, as human-readable notes.
        flicker: Mean absolute change of ab from frame to frame, along the motion, in LAB units.
        flicker_frame_by_frame: The same for the predictions of single frames, which do not follow
            the motion.
    """

    frames: int = 0
    cuts: int = 0
    corresponding: int = 0
    damaged: int = 0
    sound_lost: bool = False
    notes: list[str] = field(default_factory=list)
    flicker: float = 0.0
    flicker_frame_by_frame: float = 0.0


class ColorFollower:
    """Carries colors from frame to frame along the optical flow, until a cut.

    Where the motion explains the next frame's lightness, most of its color comes from the previous
    frame; elsewhere, and after a cut, it comes from the network.
    """

    def __init__(self) -> None:
        self.progress = FilmProgress()
        self.before: Tensor | None = None
        """The previous frame, (1, 5, h, w): L, its ab, and the predicted ab."""

    def follow(self, L: Tensor, predicted: Tensor, motion: Tensor | None) -> Tensor:
        """Return the colors of the next frame.

        `L` is (1, 1, h, w) in [0, 100], `predicted` is ab, (1, 2, h, w) in LAB units, both on the
        CPU. `motion` is `find_motion` from the previous frame; None for the first frame.
        """
        ab = predicted
        if motion is not None and self.before is not None:
            moved = F.grid_sample(self.before, motion, padding_mode="border", align_corners=False)
            moved_L, carried, moved_predicted = torch.split(moved, [1, 2, 2], 1)
            difference = (L - moved_L).abs()
            change, *contrasts = map(_spread, (L - moved_L, L, self.before[:, :1]))
            if difference.mean() > _CUT or change > max(_NOISE, _SHARE * sum(contrasts) / 2):
                self.progress.cuts += 1
            else:
                explained = torch.exp(-((difference / _TOLERANCE) ** 2))
                ab = torch.lerp(predicted, carried, _CARRIED * explained)
                self._measure(explained, ab - carried, predicted - moved_predicted)
        self.before = torch.cat([L, ab, predicted], 1)
        self.progress.frames += 1
        return ab

    def _measure(self, explained: Tensor, followed: Tensor, predicted: Tensor) -> None:
        """Add a frame's changes of color to the means."""

        def updated(mean: float, change: Tensor) -> float:
            value = (change.abs().mean(1, keepdim=True) * explained).sum() / total
            return mean + (float(value) - mean) / (done.frames - done.cuts)

        done, total = self.progress, explained.sum().clamp(min=1e-6)
        done.flicker = updated(done.flicker, followed)
        done.flicker_frame_by_frame = updated(done.flicker_frame_by_frame, predicted)


def _spread(values: Tensor) -> float:
    """Return the median deviation of cells of an image from their median."""
    cells = F.adaptive_avg_pool2d(values, _CELLS)
    return float((cells - cells.median()).abs().median())


def find_motion(before: Tensor, after: Tensor) -> Tensor:
    """Return the position of each pixel of a frame in the previous frame.

    Maps two L, (1, 1, h, w) in [0, 100], to (1, h, w, 2), for `grid_sample` with
    `align_corners=False`.
    """
    from skimage.registration import optical_flow_ilk  # slow to import

    images = [L[0, 0].numpy() for L in (after, before)]
    flow = optical_flow_ilk(*images, radius=_RADIUS)  # type: ignore[no-untyped-call]
    height, width = flow.shape[1:]
    rows, columns = np.mgrid[:height, :width] + flow + 0.5
    grid = np.stack([columns / width, rows / height], axis=-1) * 2 - 1
    return torch.from_numpy(grid)[None].float()
