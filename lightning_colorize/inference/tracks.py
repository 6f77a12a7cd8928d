"""What a film holds besides its frames: sound and subtitles."""

import math
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

_RATE = 48_000  # samples per second of encoded sound, which all encoders support
_MIXES = {"7.1": 7, "5.1": 3, "stereo": 2, "mono": 1}  # for at least so many channels
_SWAPPED = {("libopus", "5.0"), ("libopus", "6.1")}  # FFmpeg swaps their channels
_GAP = _RATE // 20  # samples by which timestamps are off without a gap
_TRIAL = 2_000  # packets of a film that are read for a trial
_WRITTEN = 32  # of them, packets of the track

# FFmpeg's names of the containers of films. Others, such as ffconcat and playlists, read more
# files, which the film would name.
_CONTAINERS = "asf,avi,dv,flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg"


class FilmFormat(NamedTuple):
    """An output format of films, in FFmpeg's names."""

    container: str
    sound: str  # Encoder for sound that cannot be copied into the format.
    encoder: str
    options: dict[str, str]  # Encoder options: a constant quality close to the original.
    muxer: dict[str, str]  # Options: a file that was cut can be played.


class Track:
    """A track of a film that is copied into a result, or with an encoder and a channel layout.

    `damaged` is the number of packets that are left out: damaged or out of order.
    """

    def __init__(
        self,
        result: "OutputContainer",
        stream: Any,
        encoder: str | None = None,
        layout: str | None = None,
    ) -> None:
        from av.bitstream import BitStreamFilterContext

        self.damaged = 0
        self._copied = encoder is None
        self._filter: Any = None
        if encoder is None:
            self._written: Any = result.add_stream_from_template(stream)
            if stream.codec_context.name == "aac" and not stream.codec_context.extradata:
                # From a broadcast. FFmpeg adds the filter itself, but not to fragments.
                self._filter = BitStreamFilterContext("aac_adtstoasc", stream)
        else:
            self._written = result.add_stream(encoder, rate=_RATE, layout=layout)
        self._written.metadata.update(stream.metadata)
        self._written.disposition = stream.disposition.value
        self._resampler: Any = None
        self._format: Any = None  # of the frames that are resampled
        self._heard = 0  # end of the encoded sound, in samples
        self._last = -math.inf  # timestamp

    def packets(self, packet: Any) -> list[Any]:
        """Return the packets to write for a packet of the film."""
        from av.error import InvalidDataError

        try:
            if not self._copied:
                packets = self._encode(packet.decode())
            else:
                packets = self._filter.filter(packet) if self._filter else [packet]
        except InvalidDataError:
            self.damaged += 1
            return []
        return self._in_order(packets)

    def end(self) -> list[Any]:
        """Return the last packets."""
        if self._copied:
            return []
        return self._in_order(self._encode([None]) + self._written.encode(None))

    def _in_order(self, packets: list[Any]) -> list[Any]:
        kept = []
        for packet in packets:
            packet.stream = self._written
            if packet.dts is None:  # the end
                continue
            if packet.dts > self._last:
                self._last = packet.dts
                kept.append(packet)
            else:  # in joined files
                self.damaged += 1
        return kept

    def _encode(self, frames: list[Any]) -> list[Any]:
        """Encode frames of sound, None at the end; parts of a broadcast differ in format."""
        from av.audio.resampler import AudioResampler

        resampled: list[Any] = []
        for frame in frames:
            kind = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._format:
                resampled += self._resampler.resample(None) if self._resampler else []
                to = self._written.codec_context
                self._resampler = AudioResampler(to.format.name, to.layout.name, _RATE)
                self._format = kind
            resampled += self._resampler.resample(frame) if frame else []
        packets = []
        for frame in resampled:
            at = round((frame.time or 0) * _RATE)
            if at > self._heard + _GAP:  # else rounding, or joined files
                self._heard = at
            frame.pts, frame.time_base = self._heard, Fraction(1, _RATE)
            self._heard += frame.samples
            packets += self._written.encode(frame)
        return packets


def add_sound(
    result: "OutputContainer", source: Path, stream: Any, form: FilmFormat
) -> tuple[Track | None, str]:
    """Add a sound track, copied if the format holds it; None if it cannot be kept, and a note."""
    context = stream.codec_context
    if context is None:
        return None, "of an unknown kind"
    if can_write(source, stream, form):
        return Track(result, stream), ""
    layout, channels = context.layout.name, context.layout.nb_channels
    same = _ordinary(layout, channels)
    for mix in (same, *(mix for mix, count in _MIXES.items() if count <= channels)):
        if (form.sound, mix) not in _SWAPPED and can_write(source, stream, form, mix):
            note = "" if mix == same else f"mixed from {layout} to {mix}"
            return Track(result, stream, form.sound, mix), note
    return None, f"({context.name}, {layout}), which cannot be written"


def _ordinary(layout: str, channels: int) -> str:
    """Return the layout that encoders know for one with the same channels."""
    from av import AudioLayout

    if not layout.startswith(f"{channels} channel"):  # FFmpeg's name of an unspecified layout
        return layout.removesuffix("(side)")
    try:
        return AudioLayout(f"{channels}c").name
    except ValueError:  # there is none of so many
        return "stereo"


def can_write(source: Path, stream: Any, form: FilmFormat, layout: str | None = None) -> bool:
    """Return whether a format holds a track, by writing its first packets on trial.

    Some muxers refuse a track only when they finish. With a `layout`, sound is encoded.
    """
    import av

    file = BytesIO()
    try:
        with (
            open_film(source) as film,
            av.open(file, "w", format=form.container, options=form.muxer) as trial,
        ):
            read = film.streams[stream.index]
            track = Track(trial, read, form.sound if layout else None, layout)
            trial.start_encoding()
            of_track = (p for p in islice(film.demux(), _TRIAL) if p.stream == read and p.size)
            first = list(islice(of_track, _WRITTEN))
            for packet in first:
                trial.mux(track.packets(packet))
            trial.mux(track.end())
        if not first:
            return True
        file.seek(0)
        with av.open(file) as written:
            (found,) = written.streams
            context: Any = found.codec_context
            return layout is None or layout == context.layout.name
    except (av.FFmpegError, ValueError):
        return False


def open_film(source: Path) -> "InputContainer":
    """Open a film; raises UsageError if it cannot be read, or PyAV is missing."""
    require_extra("film", "a film", "av")
    import av

    try:
        # With a slash, because FFmpeg takes text before a colon as a protocol.
        only = {"format_whitelist": _CONTAINERS}
        return av.open(source.absolute(), options=only, metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise UsageError(f"{source} cannot be read as a film: {reason}") from None
