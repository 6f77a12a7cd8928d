"""Reading, colorizing and writing films, frame by frame."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.color import to_lightness
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.files import atomic_file, remove_leftovers
from lightning_colorize.common.memory import require_out_of_memory
from lightning_colorize.inference.card import software
from lightning_colorize.inference.colorize import Options, worker_threads
from lightning_colorize.inference.motion import ColorFollower, FilmProgress, find_motion
from lightning_colorize.models.base import Model
from lightning_colorize.models.image import add_colors, network_input, predict

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FILM_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""Lower-case suffixes of films."""


class FilmFormat(NamedTuple):
    """An output format of films, in FFmpeg's names."""

    container: str
    sound: str  # Encoder for sound that cannot be copied into the format.
    encoder: str
    options: dict[str, str]  # Encoder options: a constant quality close to the original.


_H264 = ("libx264", {"crf": "18"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})

FORMATS = {
    ".mp4": FilmFormat("mp4", "aac", *_H264),
    ".mov": FilmFormat("mov", "aac", *_H264),
    ".mkv": FilmFormat("matroska", "aac", *_H264),
    ".webm": FilmFormat("webm", "libopus", *_VP9),
}
"""Formats by suffix."""

_BT709 = 1  # FFmpeg's number of these primaries, transfer and matrix
_LIMITED = 1  # FFmpeg's number of the range 16 to 235

_COMPLETE = 0.9  # minimum share of the stated duration, which is inexact

# FFmpeg's names of the containers in `FILM_SUFFIXES`. Others, such as ffconcat and playlists,
# read more files, which the film would name.
_CONTAINERS = "asf,avi,dv,flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg"


def count_frames(source: Path) -> int:
    """Return the approximate number of frames of a film."""
    with _opened(source) as (film, video):
        if not video.frames and film.duration and video.average_rate:
            return round(film.duration / 1e6 * video.average_rate)
        return video.frames or sum(1 for packet in film.demux(video) if packet.size)


def colorize_film(
    model: Model, source: Path, target: Path, options: Options, limit: int | None = None
) -> Iterator[FilmProgress]:
    """Colorize a film; its timestamps and sound are unchanged.

    The result is written under a temporary name and renamed when complete.

    Args:
        model: The model.
        source: A film that FFmpeg can read.
        target: The file to write or replace; its suffix is one of `FORMATS`.
        options: Only `batch_size`, `workers` and `guided` are used.
        limit: Maximum number of frames to write.

    Yields:
        The progress after each frame.

    Raises:
        UsageError: If PyAV is missing, or the film cannot be read.
        WorkError: If the result cannot be written, or memory runs out.
    """
    av = _import_av()
    progress = FilmProgress()
    form = FORMATS[target.suffix.lower()]
    try:
        with _opened(source) as (film, video), atomic_file(target, sync=False) as file:
            remove_leftovers(target.parent)
            with av.open(file, "w", format=form.container) as result:
                for progress in _Film(model, film, video, result, form, options).run(limit):
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
            f"{source} was not colorized: stopped after {progress.frames} frames: {reason}"
        ) from error


@dataclass(eq=False)
class _Film:
    """Reads, colorizes and writes the frames of a film in batches."""

    model: Model
    film: "InputContainer"
    video: "VideoStream"
    result: "OutputContainer"
    form: FilmFormat
    options: Options

    def __post_init__(self) -> None:
        self.follower = ColorFollower()
        self.rate = self.video.average_rate or Fraction(25)
        self.unit = self.video.time_base or 1 / self.rate  # seconds
        self.sound: dict[Any, Any] = {}  # the result's track for each track of the film
        self.encoded: set[Any] = set()  # tracks that cannot be copied
        for stream in self.film.streams.audio:
            self._add_sound(stream)
        form = self.form
        written = self.result.add_stream(form.encoder, rate=self.rate, options=form.options)
        self.written = cast("VideoStream", written)
        self.result.metadata.update(self.film.metadata | {"comment": software(self.model.path)})
        self._pts: int | None = None
        self._heard_until: dict[Any, int] = {}
        self._end = 0.0  # of the packets read, in seconds

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
        """Colorize the film."""
        frames = self._frames(limit)
        with worker_threads(self.options.workers) as pool:
            while batch := list(islice(frames, self.options.batch_size)):
                images = [_upright(frame) for frame in batch]
                size = self.model.size
                seen = list(pool.map(network_input, images, [size] * len(images)))
                # Each frame has the same noise, or samples would flicker.
                noise = [torch.Generator().manual_seed(0) for _ in seen]
                predicted = predict(self.model, seen).colors(generators=noise)
                predicted = [ab.cpu() for ab in predicted]
                lightness = [to_lightness(image[None]) for image in seen]
                last = self.follower.before
                before = lightness if last is None else [last[:, :1], *lightness]
                motions: list[Tensor | None] = [None] * (last is None)
                motions += pool.map(find_motion, *zip(*pairwise(before), strict=True))
                colors = list(map(self.follower.follow, lightness, predicted, motions))
                guides = seen if self.options.guided else [None] * len(seen)
                colored = pool.map(add_colors, images, colors, guides)
                for frame, rgb in zip(batch, colored, strict=True):
                    self._write(frame, rgb)
                    yield self.follower.progress
        if self.follower.progress.frames:
            self.result.mux(self.written.encode(None))
        read, stated = self._end, (self.film.duration or 0) / 1e6
        if limit is None and read < _COMPLETE * stated:  # the file was cut
            self.follower.progress.notes.append(f"all after {read:.1f} of {stated:.1f} seconds")

    def _frames(self, limit: int | None) -> "Iterator[VideoFrame]":
        """Yield the frames up to the limit, and copy the sound until the last of them ends."""
        from av.error import InvalidDataError

        progress = self.follower.progress
        sound: list[Any] = []
        first: VideoFrame | None = None
        count, end = 0, math.inf  # the end in seconds, once the last frame is read
        start = Fraction(self.film.start_time or 0, 10**6)
        for packet in self.film.demux(self.video, *self.sound):
            if packet.pts is not None:
                end_of_packet = (packet.pts + (packet.duration or 0)) * packet.time_base - start
                self._end = max(self._end, float(end_of_packet))
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
        """Return the packets to write for a sound packet."""
        track = self.sound[packet.stream]
        if packet.stream in self.encoded:
            return [each for frame in packet.decode() for each in track.encode(frame)]
        if packet.dts is None:  # the end
            return []
        if packet.dts <= self._heard_until.get(track, -math.inf):  # in joined files
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
        # Players expect chroma subsampling, which odd sides do not allow.
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
        if pts is None or (last is not None and pts <= last):  # in damaged files and old formats
            pts = 0 if last is None else last + max(1, round(1 / self.rate / self.unit))
        written.pts = self._pts = pts
        self.result.mux(self.written.encode(written))


def _upright(frame: "VideoFrame") -> Tensor:
    """Return a frame, (3, H, W), uint8, rotated as the file specifies."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


@contextmanager
def _opened(source: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    av = _import_av()
    try:
        # With a slash, because FFmpeg takes text before a colon as a protocol.
        only = {"format_whitelist": _CONTAINERS}
        film = av.open(source.absolute(), options=only, metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise UsageError(f"{source} cannot be read as a film: {reason}") from None
    with film:
        video = film.streams.best("video")  # not a cover image
        if video is None:
            raise UsageError(f"{source} has no frames, only sound")
        yield film, video


def _import_av() -> Any:
    require_extra("film", "a film", "av")
    import av

    return av
