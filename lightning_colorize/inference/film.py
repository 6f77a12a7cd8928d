"""Films: frames colored in their order, whose colors follow the motion instead of flickering."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import to_lightness
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import remove_leftovers, replacement
from lightning_colorize.common.memory import require_out_of_memory
from lightning_colorize.inference.card import software
from lightning_colorize.inference.colorize import Options, worker_threads
from lightning_colorize.inference.colorizer import Colorizer
from lightning_colorize.tasks.prediction import add_colors, network_input, predict_colors

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FILM_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""Names of films end so."""


class FilmFormat(NamedTuple):
    """How a film is written.

    Attributes:
        container: FFmpeg's name of the file format.
        sound: FFmpeg's encoder of sound that the format cannot hold as it is.
        encoder: FFmpeg's encoder of the frames.
        options: Of that encoder: a constant quality that hardly differs from the original.
    """

    container: str
    sound: str
    encoder: str
    options: dict[str, str]


_H264 = ("libx264", {"crf": "18"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})

FORMATS = {
    ".mp4": FilmFormat("mp4", "aac", *_H264),
    ".mov": FilmFormat("mov", "aac", *_H264),
    ".mkv": FilmFormat("matroska", "aac", *_H264),
    ".webm": FilmFormat("webm", "libopus", *_VP9),
}
"""Films that are written, by suffix."""

_BT709 = 1  # FFmpeg's number of these primaries, transfer and matrix
_LIMITED = 1  # FFmpeg's number of the range 16 to 235

_COMPLETE = 0.9  # share of the stated number of frames, which is not exact

_CARRIED = 0.95  # share of the carried colors where the motion explains the image
_TOLERANCE = 6.0  # LAB units of L by which a carried pixel may differ
_CUT = 12.0  # LAB units: mean difference of L, after the motion, of another scene
_RADIUS = 5  # pixels around each one whose motion is the same


@dataclass
class FilmProgress:
    """What has been done of a film.

    Attributes:
        frames: That are colored.
        cuts: Scenes that began after the first one.
        damaged: Packets and frames of the file that are damaged.
        notes: What the result does not keep, in words.
        flicker: How much the color of what is seen changes from frame to frame: mean absolute
            change of ab along the motion, in LAB units.
        flicker_frame_by_frame: The same of the predictions, whose colors do not follow the motion.
    """

    frames: int = 0
    cuts: int = 0
    damaged: int = 0
    notes: list[str] = field(default_factory=list)
    flicker: float = 0.0
    flicker_frame_by_frame: float = 0.0


class ColorFollower:
    """Carries colors from frame to frame along the optical flow, until a cut.

    Where the motion explains the next frame's lightness, most of its color is that of the frame
    before; elsewhere, and after a cut, it is what the network predicts.
    """

    def __init__(self) -> None:
        self.progress = FilmProgress()
        self._before: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def last(self) -> Tensor | None:
        """L of the last frame; None before the first one."""
        return None if self._before is None else self._before[0]

    def follow(self, L: Tensor, predicted: Tensor, motion: Tensor | None) -> Tensor:
        """Return the colors of the next frame.

        Args:
            L: (1, 1, h, w) in [0, 100], on the CPU.
            predicted: ab, (1, 2, h, w) in LAB units, on the CPU.
            motion: From the frame before, as `find_motion` returns it; None for the first one.
        """
        ab = predicted
        if motion is not None:
            assert self._before is not None
            moved_L, carried, moved = (_moved(values, motion) for values in self._before)
            difference = (L - moved_L).abs()
            if difference.mean() > _CUT:
                self.progress.cuts += 1
            else:
                explained = torch.exp(-((difference / _TOLERANCE) ** 2))
                ab = torch.lerp(predicted, carried, _CARRIED * explained)
                self._measure(explained, ab - carried, predicted - moved)
        self._before = L, ab, predicted
        self.progress.frames += 1
        return ab

    def _measure(self, explained: Tensor, followed: Tensor, predicted: Tensor) -> None:
        """Add a frame's changes of color to the means."""
        progress = self.progress
        compared = progress.frames - progress.cuts
        total = explained.sum().clamp(min=1e-6)
        values = [
            float((change.abs().mean(1, keepdim=True) * explained).sum() / total)
            for change in (followed, predicted)
        ]
        progress.flicker += (values[0] - progress.flicker) / compared
        progress.flicker_frame_by_frame += (values[1] - progress.flicker_frame_by_frame) / compared


def find_motion(before: Tensor, after: Tensor) -> Tensor:
    """Return where each pixel of a frame was in the frame before.

    Args:
        before: L, (1, 1, h, w) in [0, 100].
        after: L of the next frame.

    Returns:
        (1, h, w, 2), positions for `grid_sample` with `align_corners=False`.
    """
    from skimage.registration import optical_flow_ilk  # slow to import

    images = [L[0, 0].numpy() for L in (after, before)]
    flow = optical_flow_ilk(*images, radius=_RADIUS)  # type: ignore[no-untyped-call]
    height, width = flow.shape[1:]
    rows, columns = np.mgrid[:height, :width] + flow + 0.5
    grid = np.stack([columns / width, rows / height], axis=-1) * 2 - 1
    return torch.from_numpy(grid)[None].float()


def _moved(values: Tensor, motion: Tensor) -> Tensor:
    return F.grid_sample(values, motion, padding_mode="border", align_corners=False)


def count_frames(source: Path) -> int:
    """Return about how many frames a film has.

    Raises:
        UsageError: If PyAV is missing, or the film cannot be read.
    """
    with _opened(source) as (film, video):
        stated = _stated_frames(film, video)
        return stated or sum(1 for packet in film.demux(video) if packet.size)


def _stated_frames(film: "InputContainer", video: "VideoStream") -> int:
    """Return about how many frames a film says it has; 0 if it does not say."""
    if not video.frames and film.duration and video.average_rate:
        return round(film.duration / 1e6 * video.average_rate)
    return video.frames


def colorize_film(
    loaded: Colorizer, source: Path, target: Path, options: Options, limit: int | None = None
) -> Iterator[FilmProgress]:
    """Color a film; its timestamps and its sound stay as they are.

    It is written under a temporary name and renamed when it is complete.

    Args:
        loaded: The model.
        source: A film that FFmpeg can read.
        target: The file to write or replace; its suffix is one of `FORMATS`.
        options: `size`, `batch_size`, `workers` and `guided` count.
        limit: Most frames to color; the result ends after them.

    Yields:
        The progress after each frame.

    Raises:
        UsageError: If PyAV is missing, or the film cannot be read.
        WorkError: If the result cannot be written, or memory is short.
    """
    av = _import_av()
    progress = FilmProgress()
    remove_leftovers(target.parent)
    try:
        with _opened(source) as (film, video), replacement(target) as file:
            form = FORMATS[target.suffix.lower()]
            with av.open(file, "w", format=form.container) as result:
                for progress in _Film(loaded, film, video, result, form, options).run(limit):
                    yield progress
            if not progress.frames:
                raise UsageError(f"{source} has no frame that can be decoded")
    except (MemoryError, RuntimeError) as error:
        require_out_of_memory(error)
        raise WorkError(
            f"{source}: out of memory; lower --batch-size, then --size, or take another --device"
        ) from error
    except (OSError, av.FFmpegError, FloatingPointError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkError(
            f"{source} is not colored: stopped after {progress.frames} frames: {reason}"
        ) from error


class _Film:
    """Reads, colors and writes the frames of a film in batches."""

    def __init__(
        self,
        loaded: Colorizer,
        film: "InputContainer",
        video: "VideoStream",
        result: "OutputContainer",
        form: FilmFormat,
        options: Options,
    ) -> None:
        self.task = loaded.task
        self.options = options
        self.film = film
        self.result = result
        self.form = form
        self.follower = ColorFollower()
        self.video = video
        self.rate = self.video.average_rate or Fraction(25)
        self.unit = self.video.time_base or 1 / self.rate  # seconds
        self.sound: dict[Any, Any] = {}  # tracks of the result by those of the film
        self.encoded: set[Any] = set()  # those that cannot be copied
        for stream in film.streams.audio:
            self._add_sound(stream)
        written = result.add_stream(form.encoder, rate=self.rate, options=form.options)
        self.written = cast("VideoStream", written)
        result.metadata.update(film.metadata | {"comment": software(loaded.path)})
        self._pts: int | None = None
        self._heard_until: dict[Any, int] = {}

    def _add_sound(self, stream: Any) -> None:
        context = stream.codec_context
        if context is None:
            self.follower.progress.notes.append("a sound track of an unknown kind")
            return
        try:
            track = self.result.add_stream_from_template(stream)
        except ValueError:  # the format cannot hold it
            track = self.result.add_stream(self.form.sound, rate=48000, layout=context.layout.name)
            self.encoded.add(stream)
        track.metadata.update(stream.metadata)
        self.sound[stream] = track

    def run(self, limit: int | None) -> Iterator[FilmProgress]:
        """Color the film."""
        frames = self._frames(limit)
        with worker_threads(self.options.workers) as pool:
            while batch := list(islice(frames, self.options.batch_size)):
                images = [_upright(frame) for frame in batch]
                size = self.options.size
                seen = list(pool.map(network_input, images, [size] * len(images)))
                predicted = [ab.cpu() for ab in predict_colors(self.task, seen)]
                lightness = [to_lightness(image[None]) for image in seen]
                last, follow = self.follower.last, self.follower.follow
                before = lightness if last is None else [last, *lightness]
                motions: list[Tensor | None] = [None] * (last is None)
                motions += pool.map(find_motion, *zip(*pairwise(before), strict=True))
                colors = list(map(follow, lightness, predicted, motions))
                guides = seen if self.options.guided else [None] * len(seen)
                colored = pool.map(add_colors, images, colors, guides)
                for frame, rgb in zip(batch, colored, strict=True):
                    self._write(frame, rgb)
                    yield self.follower.progress
        read, stated = self.follower.progress.frames, _stated_frames(self.film, self.video)
        if read:
            self.result.mux(self.written.encode(None))
        if limit is None and read < _COMPLETE * stated:  # the file was cut
            self.follower.progress.notes.append(f"{stated - read} of about {stated} frames")

    def _frames(self, limit: int | None) -> "Iterator[VideoFrame]":
        """Yield the first frames, and copy the sound on the way until the last of them ends."""
        from av.error import InvalidDataError

        progress = self.follower.progress
        sound: list[Any] = []
        first: VideoFrame | None = None
        count, end = 0, math.inf  # the end in seconds, once the last frame is read
        for packet in self.film.demux(self.video, *self.sound):
            try:
                progress.damaged += packet.is_corrupt
                if packet.stream in self.sound:
                    if packet.dts is not None and packet.dts * packet.time_base >= end:
                        break
                    sound += self._heard(packet)
                    frames = []
                else:
                    decoded = [] if count == limit else packet.decode()
                    frames = cast("list[VideoFrame]", decoded)
            except InvalidDataError:
                progress.damaged += 1
                continue
            for frame in frames:
                if first is None:
                    first = frame
                    self._begin(first)
                progress.damaged += frame.is_corrupt
                yield frame.reformat(width=first.width, height=first.height)
                count += 1
                if count == limit:
                    begin = (count - 1) / self.rate if frame.time is None else frame.time
                    end = float(begin + 1 / self.rate)
                    break
            if first is not None:  # the first packet begins the file
                self.result.mux(sound)
                sound.clear()
            if count == limit and not self.sound:
                break
        if first is not None:
            for stream in self.encoded:
                self.result.mux(self.sound[stream].encode(None))

    def _heard(self, packet: Any) -> list[Any]:
        """Return the packets of the result for one of a sound track."""
        track = self.sound[packet.stream]
        is_end = packet.dts is None
        if packet.stream in self.encoded:
            return [each for frame in packet.decode() for each in track.encode(frame)]
        if is_end:
            return []
        last = self._heard_until.get(track)
        if last is not None and packet.dts <= last:  # of files that were joined
            self.follower.progress.damaged += 1
            return []
        self._heard_until[track] = packet.dts
        packet.stream = track
        return [packet]

    def _begin(self, frame: "VideoFrame") -> None:
        """Describe the frames to the encoder."""
        context = self.written.codec_context
        height, width = _upright(frame).shape[-2:]
        context.height, context.width = height, width
        # Four pixels share a color, as players expect; an odd side does not allow it.
        context.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        context.time_base = self.unit
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        aspect = self.video.sample_aspect_ratio
        if aspect and aspect != 1:
            if self.form.container == "webm":
                self.follower.progress.notes.append(f"pixels of {aspect}, which .webm cannot hold")
            turned = round(frame.rotation / 90) % 2
            context.sample_aspect_ratio = Fraction(1) / aspect if turned else aspect

    def _write(self, frame: "VideoFrame", rgb: Tensor) -> None:
        from av import VideoFrame

        pixels = rgb.permute(1, 2, 0).contiguous().numpy()
        context = self.written.codec_context
        written = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format=context.pix_fmt, dst_colorspace=_BT709, dst_color_range=_LIMITED
        )
        written.time_base = self.unit
        pts, last = frame.pts, self._pts
        if pts is None or (last is not None and pts <= last):  # of damaged files and old formats
            pts = 0 if last is None else last + max(1, round(1 / self.rate / self.unit))
        written.pts = self._pts = pts
        self.result.mux(self.written.encode(written))


def _upright(frame: "VideoFrame") -> Tensor:
    """Return a frame, (3, H, W), uint8, turned as its file says."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


@contextmanager
def _opened(source: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    av = _import_av()
    try:
        # With a slash, as FFmpeg takes what precedes a colon for a protocol.
        film = av.open(source.absolute(), metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise UsageError(f"{source} cannot be read as a film: {reason}") from None
    with film:
        video = film.streams.best("video")  # not the image of a cover
        if video is None:
            raise UsageError(f"{source} has no frames, only sound")
        yield film, video


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError("films need PyAV: pip install 'lightning-colorize[film]'") from None
    return av
