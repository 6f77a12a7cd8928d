"""What else a film holds: sound of any layout, subtitles, chapters, a timecode, attachments."""

import os
import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.inference import Options
from lightning_colorize.inference import film as film_module
from lightning_colorize.inference.film import FORMATS, colorize_film
from tests.data.images import stored_pixels
from tests.painters import follower

av = pytest.importorskip("av")

CODECS = (
    *("pcm_u8", "pcm_s16le", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "wmav2", "ac3", "eac3"),
    *("aac", "libmp3lame", "libopus", "vorbis", "flac", "alac"),
)
LAYOUTS = ("mono", "stereo", "5.1", "5.1(side)", "7.1", "1C", "2C", "6C", "8C")  # C: unspecified
RARE = ("2.1", "4.0", "quad(side)", "5.0(side)", "6.1", "7.1(wide)", "octagonal", "16C")
CONTAINERS = ("avi", "matroska", "mov", "asf")
RATE = 48_000
PAGE = Path(__file__).parents[2] / "docs/how-to/films.md"


@pytest.fixture(scope="module")
def model():
    return follower()


def _pitches(layout):
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    low = names.index("LFE") if "LFE" in names else 3 if len(names) > 5 else None
    return [60 if n == low else 400 + 200 * n for n in range(len(names))]


def _write(path, codec="pcm_s16le", layout="stereo", container=None, more=(), frames=4, **chapters):
    """Write a film of 10 frames/s with 0.4 s of a tone per channel; FFmpeg may refuse."""
    with av.open(path, "w", format=container) as film:
        video = film.add_stream("mpeg4", rate=10, width=32, height=24)
        video.metadata["timecode"] = "01:02:03:04"
        film.set_chapters(chapters.get("chapters", []))
        options = {"strict": "experimental"}
        rate = {"bit_rate": 0 if "pcm" in codec else 256_000}
        track = film.add_stream(codec, rate=RATE, layout=layout, options=options, **rate)
        others = [add(film) for add in more]
        at = 2 * np.pi / RATE * np.arange(RATE * frames // 10)[:, None]
        wave = 8000 * np.sin(at * _pitches(layout))
        heard = av.AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), "s16", layout)
        heard.rate = RATE
        packets = [*others, *track.encode(heard), *track.encode(None)]
        film.mux([packet for packet in packets if packet is not None and packet.size])
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 60 + n % 100, np.uint8))
            frame.pts, frame.time_base = n, Fraction(1, 10)
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
    return path


def _heard(path):
    """Return the codec, the layout and the pitch of each channel of a film's sound."""
    samples = []
    # Packed, because PyAV crashes on the planes of eight channels.
    resampler = av.AudioResampler("flt", rate=RATE)
    with av.open(path) as film:
        context = film.streams.audio[0].codec_context
        codec, layout, channels = context.name, context.layout.name, context.layout.nb_channels
        for frame in film.decode(audio=0):
            samples += [each.to_ndarray() for each in resampler.resample(frame)]
    middle = np.concatenate(samples, axis=1).reshape(-1, channels)[4800:14_400]  # 0.2 s
    loudest = np.abs(np.fft.rfft(middle * np.hanning(9600)[:, None], axis=0)).argmax(axis=0)
    return codec, layout, [5 * int(n) for n in loudest]


def _colorize(model, source, target, **options):
    *_, done = colorize_film(model, source, target, Options(**options))
    return done


def _outcome(model, folder, codec, layout, suffix):
    """Return how the sound of a film is written, its layout and notes; None without such a film."""
    for container in CONTAINERS:
        try:
            source = _write(folder / "in.mkv", codec, layout, container)
        except (ValueError, av.FFmpegError):  # FFmpeg cannot write it
            continue
        given = _heard(source)
        done = _colorize(model, source, target := folder / f"out{suffix}")
        way, written, pitches = _heard(target)
        assert (done.frames, done.sound_lost) == (4, False), (codec, layout, container)
        assert done.notes or pitches == given[2], (codec, layout, container)
        return ("copied" if way == given[0] else way), written, done.notes
    return None


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_the_sound_of_every_codec_and_layout_is_kept(model, tmp_path, codec):
    cells = []
    for suffix in FORMATS:
        outcomes = [_outcome(model, tmp_path, codec, layout, suffix) for layout in LAYOUTS]
        assert any(outcomes)
        assert not any(outcome[2] for outcome in outcomes if outcome)
        cells.append(" or ".join(sorted({each[0] for each in outcomes if each}, reverse=True)))
    assert f"| `{codec}` | {' | '.join(cells)} |" in PAGE.read_text().splitlines()


@pytest.mark.parametrize("layout", RARE)
def test_layouts_that_no_encoder_knows_are_mixed(model, tmp_path, layout):
    cells = []
    for suffix in (".mp4", ".webm"):
        _, written, notes = _outcome(model, tmp_path, "pcm_u8", layout, suffix)
        cells.append(f"{written}, noted" if notes else written)
        assert not notes or f" to {written}" in notes[0]
    assert f"| {layout} | {' | '.join(cells)} |" in PAGE.read_text().splitlines()
