"""What else a film holds: sound of any layout, subtitles, chapters, a timecode, attachments."""

import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.inference import Options
from lightning_colorize.inference import film as film_module
from lightning_colorize.inference.film import FORMATS, colorize_film
from tests.painters import follower

av = pytest.importorskip("av")

CODECS = (
    *("pcm_u8", "pcm_s16le", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "wmav2", "ac3", "eac3"),
    *("aac", "libmp3lame", "libopus", "vorbis", "flac", "alac"),
)
LAYOUTS = ("mono", "stereo", "5.1", "5.1(side)", "7.1", "1C", "2C", "6C", "8C")  # C: unspecified
SOURCES = ("avi", "matroska", "mov", "asf", "mpegts")
RATE = 48_000
PAGE = Path(__file__).parents[2] / "docs/how-to/films.md"


@pytest.fixture(scope="module")
def model():
    return follower()


def _tones(layout):
    """Return 0.4 s, (channels, samples), of a tone for each channel, that of the LFE low."""
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    pitches = [60 if name == "LFE" or (len(names) > 5 and n == 3) else 400 + 200 * n
               for n, name in enumerate(names)]
    at = np.arange(RATE * 2 // 5) / RATE
    return np.stack([8000 * np.sin(2 * np.pi * pitch * at) for pitch in pitches])


def write_film(path, container, codec="pcm_s16le", layout="stereo", sounds=1, begin=0, frames=4):
    """Write a film of 10 frames/s with tones; raises ValueError if it cannot be made."""
    with av.open(path, "w", format=container) as film:
        video = film.add_stream("mpeg4", rate=10, width=32, height=24)
        options = {"strict": "experimental"}
        tracks = [
            film.add_stream(codec, rate=RATE, layout=layout, bit_rate=0 if "pcm" in codec else 256_000, options=options)
            for _ in range(sounds)
        ]
        wave = _tones(layout).T.astype(np.int16).reshape(1, -1)
        for track in tracks:
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), "s16", layout)
            heard.rate, heard.pts, heard.time_base = RATE, begin, Fraction(1, RATE)
            packets = [*track.encode(heard), *track.encode(None)]
            film.mux([packet for packet in packets if packet.size])
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 60 + 20 * n, np.uint8))
            frame.pts, frame.time_base = n, Fraction(1, 10)
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
    return path


def _heard(path, track=0):
    """Return the codec, the layout and the dominant pitches of a film's sound."""
    with av.open(path) as film:
        context = film.streams.audio[track].codec_context
        samples = []
        # Packed, because PyAV crashes on the planes of eight channels.
        resampler = av.AudioResampler("flt", rate=RATE)
        for frame in film.decode(audio=track):
            samples += [each.to_ndarray() for each in resampler.resample(frame)]
        wave = np.concatenate(samples, axis=1).reshape(-1, context.layout.nb_channels).T
    middle = wave[:, 4800:14_400]  # 0.2 s
    pitches = 5 * np.abs(np.fft.rfft(middle * np.hanning(middle.shape[1]))).argmax(axis=1)
    return context.name, context.layout.name, pitches.tolist()


def _colorize(model, source, target, limit=None):
    *_, done = colorize_film(model, source, target, Options(), limit)
    return done

if __name__ == "__main__":
    import tempfile
    m = follower()
    d = Path(tempfile.mkdtemp())
    for codec in CODECS:
        for layout, container in product(LAYOUTS, SOURCES):
            try:
                source = write_film(d / "in.mkv", container, codec, layout)
                given = _heard(source)
            except Exception as e:
                continue
            for suffix in FORMATS:
                try:
                    done = _colorize(m, source, d / f"out{suffix}")
                    got = _heard(d / f"out{suffix}")
                    way = "copied" if got[0] == given[0] else got[0]
                    bad = "" if got[2] == given[2] else f" PITCH {given[2]} {got[2]}"
                    print(codec, container, layout, given[1], "->", suffix, way, got[1], done.notes, done.sound_lost, done.frames, bad, flush=True)
                except Exception as e:
                    print(codec, container, layout, given[1], "->", suffix, "FAILED", repr(e)[:200], flush=True)
