"""Reading, colorizing and writing films, frame by frame."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.color import to_lightness
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import atomic_file
from lightning_colorize.common.memory import require_out_of_memory
from lightning_colorize.data.decoding.colors import upright
from lightning_colorize.inference.card import software
from lightning_colorize.inference.colorize import Options, worker_threads
from lightning_colorize.inference.motion import ColorFollower, FilmProgress, find_motion
from lightning_colorize.inference.reference import GREY, is_followed, with_references
from lightning_colorize.inference.tracks import FilmFormat, Track, add_sound, can_write, open_film
from lightning_colorize.models.base import Model
from lightning_colorize.models.control import NO_CONTROL, Control, Reference
from lightning_colorize.models.image import add_colors, network_input, predict

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_H264 = ("libx264", {"crf": "18"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})
# Of a second each, joined when the film is complete.
_FRAGMENTS = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}

FORMATS = {
    ".mp4": FilmFormat("mp4", "aac", *_H264, _FRAGMENTS),
    ".mov": FilmFormat("mov", "aac", *_H264, _FRAGMENTS),
    ".mkv": FilmFormat("matroska", "aac", *_H264, {}),
    ".webm": FilmFormat("webm", "libopus", *_VP9, {}),
}
"""Formats by suffix."""

_BT709 = 1  # FFmpeg's number of these primaries, transfer and matrix
_LIMITED = 1  # FFmpeg's number of the range 16 to 235

_RATE = Fraction(25)  # frames per second of a film that does not state it
_TIME = re.compile(r"(\d+)[-_:](\d\d)[-_:](\d\d(?:\.\d+)?)")  # in a name, as 00-01-02.500

_LEAST = 1e-3  # weight of a frame's reference at the frame of the next one

_COMPLETE = 0.9  # minimum share of the stated duration, which is inexact

# Metadata of the frames that describes the colored ones, too.
_DESCRIPTION = ("language", "timecode", "title")


def count_frames(source: Path) -> int:
    """Return the approximate number of frames of a film."""
    with _opened(source) as (film, video):
        if not video.frames and film.duration and video.average_rate:
            return round(film.duration / 1e6 * video.average_rate)
        return video.frames or sum(1 for packet in film.demux(video) if packet.size)


def frame_references(references: Sequence[Reference], source: Path) -> list[Reference]:
    """Return references with the index of the frame that their file names state.

    A name is the index, as `000120.png`, or the time, as `00-00-04.800.png`.

    Raises:
        UsageError: If the film has no such frame, or two references are of one.
    """
    with _opened(source) as (film, video):
        rate, unit = video.average_rate or _RATE, video.time_base or 1
        stamps = [packet.pts for packet in film.demux(video) if packet.size]
    times = np.arange(len(stamps)) / float(rate)
    if None not in stamps:
        times = np.sort(np.array(stamps, float)) * float(unit)
    placed: dict[int, Reference] = {}
    for reference in references:
        name = Path(reference.name).stem
        if match := _TIME.fullmatch(name):
            hours, minutes, seconds = map(float, match.groups())
            time = times[:1].sum() + 60 * (60 * hours + minutes) + seconds
            is_beyond = time > times.max(initial=0) + 1 / float(rate)
            frame = len(times) if is_beyond else int(abs(times - time).argmin())
        elif name.isdecimal():
            frame = int(name)
        else:
            raise UsageError(
                f"the reference {reference.name} is not named by a frame, as 000120.png, or a "
                "time, as 00-00-04.800.png"
            )
        if frame >= len(times):
            raise UsageError(
                f"the reference {reference.name} is beyond the end; the film has frames 0 to "
                f"{len(times) - 1}"
            )
        if frame in placed:
            names = f"{placed[frame].name}, {reference.name}"
            raise UsageError(f"two references are of frame {frame}: {names}")
        placed[frame] = replace(reference, frame=frame)
    return [*placed.values()]


def shots_of(target: Path) -> Path:
    """Return the folder of the first frames of a colored film's shots."""
    return target.with_name(f"{target.stem}_shots")


def colorize_film(
    model: Model,
    source: Path,
    target: Path,
    options: Options,
    limit: int | None = None,
    control: Control = NO_CONTROL,
    review: int = 0,
) -> Iterator[FilmProgress]:
    """Colorize a film; its timestamps and sound are unchanged.

    The result is renamed when it is complete. Until then, and after a failure, the frames so far
    are in a film beside it: `colored.part.mp4` for `colored.mp4`.

    Args:
        model: The model.
        source: A film that FFmpeg can read.
        target: The file to write or replace; its suffix is one of `FORMATS`.
        options: Only `batch_size`, `workers` and `guided` are used.
        limit: Maximum number of frames to write.
        control: References. Each frame takes the colors of those that it corresponds to; of
            those with a frame (`frame_references`), only the nearest before and after are compared.
        review: Maximum number of shots whose first frame is written as a PNG, to the folder
            `colored_shots` for `colored.mp4`, named by its index in the film.

    Yields:
        The progress after each frame.

    Raises:
        UsageError: If PyAV is missing, or the film cannot be read.
        WorkError: If the result cannot be written, or memory runs out.
    """
    progress = FilmProgress()
    form = FORMATS[target.suffix.lower()]
    part = target.with_name(f"{target.stem}.part{target.suffix}")

    def kept() -> str:
        return f" after {progress.frames} frames, which are in {part}" if progress.frames else ""

    with _opened(source) as (film, video):
        import av

        try:
            with atomic_file(target, part, sync=False, keep=lambda: progress.frames > 0) as file:
                with av.open(file, "w", format=form.container, options=form.muxer) as result:
                    job = _Film(model, film, video, result, form, options, control)
                    job.review, job.shots = review, shots_of(target)
                    progress = job.follower.progress
                    yield from job.run(limit)
                if not progress.frames:
                    raise UsageError(f"{source} has no frame that can be decoded")
        except (OSError, av.FFmpegError, FloatingPointError) as error:
            first: BaseException = error
            while isinstance(first.__context__, OSError | av.FFmpegError):
                first = first.__context__  # on a full disk, completing the file fails again
            reason = getattr(first, "strerror", None) or first
            raise WorkError(f"{source} was not colorized: stopped{kept()}: {reason}") from error
        except (MemoryError, RuntimeError) as error:
            require_out_of_memory(error)
            remedy = "lower --batch-size, then --size, or take another --device"
            raise WorkError(f"{source}: out of memory{kept()}; {remedy}") from error


@dataclass(eq=False)
class _Film:
    """Reads, colorizes and writes the frames of a film in batches."""

    model: Model
    film: "InputContainer"
    video: "VideoStream"
    result: "OutputContainer"
    form: FilmFormat
    options: Options
    control: Control

    def __post_init__(self) -> None:
        self.follower = ColorFollower()
        given = self.control.references
        placed = ((each.frame, each) for each in given if each.frame is not None)
        self.placed = sorted(placed, key=lambda each: each[0])
        self.rate = self.video.average_rate or _RATE
        self.unit = self.video.time_base or 1 / self.rate  # seconds
        self.tracks: dict[Any, Track] = {}  # of the result, for each of the film
        for stream in self.film.streams:
            if stream != self.video:
                self._add_track(stream)
        form = self.form
        written = self.result.add_stream(form.encoder, rate=self.rate, options=form.options)
        self.written = cast("VideoStream", written)
        described = self.video.metadata.items()
        written.metadata.update({k: v for k, v in described if k.lower() in _DESCRIPTION})
        self.result.metadata.update(self.film.metadata | {"comment": software(self.model.path)})
        self.review, self.shots, self.begins = 0, Path(), False
        self._pts: int | None = None
        self._exif = 1
        self._end = 0.0  # of the packets read, in seconds

    def _add_track(self, stream: Any) -> None:
        progress, source = self.follower.progress, Path(self.film.name)
        form, kind = self.form, stream.type
        track, note = None, f"({stream.name}), which {form.container} cannot hold"
        if kind == "audio":
            track, note = add_sound(self.result, source, stream, form)
            progress.sound_lost |= track is None
        elif kind == "subtitle":
            if can_write(source, stream, form):
                track, note = Track(self.result, stream), ""
        elif kind == "attachment" and form.container == "matroska":
            self.result.add_stream_from_template(stream)
            note = ""
        elif kind == "data" and (stream.name == "bin_data" or "timecode" in stream.metadata):
            note = ""  # chapters and the timecode, which are metadata here
        if track is not None:
            self.tracks[stream] = track
        if note:
            progress.notes.append(f"{kind} track {stream.index} {note}")

    def run(self, limit: int | None) -> Iterator[FilmProgress]:
        """Colorize the film; after a failure, complete the file for the frames so far."""
        if limit is None:
            self.result.set_chapters(self.film.chapters())
        try:
            yield from self._colorize(limit)
            read, stated = self._end, (self.film.duration or 0) / 1e6
            if self.video.duration:  # the film's own can have a pre-roll
                stated = min(stated, float(self.video.duration * self.unit))
            if limit is None and read < _COMPLETE * stated:  # the file was cut
                self.follower.progress.notes.append(f"all after {read:.1f} of {stated:.1f} seconds")
        finally:
            if self.follower.progress.frames:
                for stream in list(self.tracks):
                    self._copy(stream, None)
                self.result.mux(self.written.encode(None))

    def _colorize(self, limit: int | None) -> Iterator[FilmProgress]:
        frames = self._frames(limit)
        with worker_threads(self.options.workers) as pool:
            while batch := list(islice(frames, self.options.batch_size)):
                images = list(map(self._upright, batch))
                size = self.model.size
                seen = list(pool.map(network_input, images, [size] * len(images)))
                # Each frame has the same noise, or samples would flicker.
                noise = [torch.Generator().manual_seed(0) for _ in seen]
                first = self.follower.progress.frames
                given = map(self._control, range(first, first + len(batch)))
                controls = list(pool.map(with_references, given, seen))
                self.follower.progress.corresponding += sum(map(is_followed, controls))
                predicted = predict(self.model, seen, controls=controls).colors(generators=noise)
                predicted = [ab.cpu() for ab in predicted]
                lightness = [to_lightness(image[None]) for image in seen]
                last = self.follower.before
                before = lightness if last is None else [last[:, :1], *lightness]
                motions: list[Tensor | None] = [None] * (last is None)
                motions += pool.map(find_motion, *zip(*pairwise(before), strict=True))
                colors, begins = [], []
                for seen_frame in zip(lightness, predicted, motions, strict=True):
                    cuts = self.follower.progress.cuts
                    colors.append(self.follower.follow(*seen_frame))
                    begins.append(seen_frame[2] is None or self.follower.progress.cuts > cuts)
                guides = seen if self.options.guided else [None] * len(seen)
                colored = pool.map(add_colors, images, colors, guides)
                for number, (frame, rgb) in enumerate(zip(batch, colored, strict=True), first):
                    self._write(frame, rgb)
                    self.begins |= begins[number - first]
                    is_grey = colors[number - first].norm(dim=1).mean() < GREY  # a fade
                    if self.begins and self.review and not is_grey:
                        self.begins, self.review = False, self.review - 1
                        self.shots.mkdir(exist_ok=True)
                        to_pil_image(rgb).save(self.shots / f"{number:06}.png")
                    yield self.follower.progress

    def _control(self, index: int) -> Control:
        """Return the control of a frame."""
        after = bisect_right(self.placed, index, key=lambda each: each[0])
        near = self.placed[max(0, after - 1) : after + 1]
        others = [each for each in self.control.references if each.frame is None]
        gap = (near[-1][0] - near[0][0] if near else 0) or math.inf
        placed = [
            replace(one, weight=max(_LEAST, 1 - abs(index - frame) / gap)) for frame, one in near
        ]
        return replace(self.control, references=(*placed, *others))

    def _frames(self, limit: int | None) -> "Iterator[VideoFrame]":
        """Yield the frames up to the limit, and copy the tracks until the last of them ends."""
        from av.error import InvalidDataError

        progress = self.follower.progress
        waiting: list[Any] = []  # packets of tracks
        first: VideoFrame | None = None
        count, end = 0, math.inf  # the end in seconds, once the last frame is read
        start = Fraction(self.film.start_time or 0, 10**6)
        has_sound = any(stream.type == "audio" for stream in self.tracks)
        for packet in self.film.demux(self.video, *self.tracks):
            if packet.pts is not None:
                length = (packet.duration or 0) * packet.time_base or 1 / self.rate
                end_of_packet = packet.pts * packet.time_base + length - start
                self._end = max(self._end, float(end_of_packet))
            progress.damaged += packet.is_corrupt
            frames = []
            if packet.stream != self.video:
                late = packet.dts is not None and packet.dts * packet.time_base >= end
                if late and packet.stream.type == "audio":
                    break
                waiting += [packet] * (not late)
            elif count != limit:
                try:
                    frames = cast("list[VideoFrame]", packet.decode())
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
                for each in waiting:
                    self._copy(each.stream, each)
                waiting.clear()
            if count == limit and not has_sound:
                break

    def _copy(self, stream: Any, packet: Any) -> None:
        """Write a packet of a track, None at its end; a track that fails ends."""
        if (track := self.tracks.get(stream)) is None:
            return
        progress, damaged = self.follower.progress, track.damaged
        try:
            self.result.mux(track.end() if packet is None else track.packets(packet))
        except ValueError as error:  # from FFmpeg
            del self.tracks[stream]
            progress.sound_lost |= stream.type == "audio"
            track_name = f"{stream.type} track {stream.index}"
            progress.notes.append(f"{track_name} after {self._end:.1f} seconds: {error}")
        progress.damaged += track.damaged - damaged

    def _begin(self, frame: "VideoFrame") -> None:
        """Describe the frames to the encoder."""
        context = self.written.codec_context
        self._exif = _orientation(frame)
        height, width = self._upright(frame).shape[-2:]
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
            turned = self._exif >= 5
            context.sample_aspect_ratio = Fraction(1) / aspect if turned else aspect

    def _upright(self, frame: "VideoFrame") -> Tensor:
        """Return a frame, (3, H, W), uint8, rotated and mirrored as the file specifies."""
        pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        return upright(pixels, self._exif).contiguous()

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


def _orientation(frame: "VideoFrame") -> int:
    """Return the EXIF orientation, 1 to 8, that is nearest to a frame's display matrix."""
    from av.sidedata.sidedata import Type

    data: Any = cast("Any", frame.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return 1
    xx, xy, _, yx, yy, *_ = map(int, np.frombuffer(bytes(data), np.int32))
    turned = abs(xx) + abs(yy) < abs(xy) + abs(yx)
    mirrored, inverted = (yx < 0, xy < 0) if turned else (xx < 0, yy < 0)
    return 1 + 4 * turned + (3 - mirrored if inverted else mirrored)


@contextmanager
def _opened(source: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    with open_film(source) as film:
        video = film.streams.best("video")  # not a cover image
        if video is None:
            raise UsageError(f"{source} has no frames, only sound")
        yield film, cast("VideoStream", video)
