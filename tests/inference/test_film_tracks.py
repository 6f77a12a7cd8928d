"""What else a film holds: sound of any layout, subtitles, chapters, a timecode, attachments."""

import signal
import struct
import subprocess
import sys
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.inference import Options, tracks
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


def _write(
    path,
    codec="pcm_s16le",
    layout="stereo",
    container=None,
    more=(),
    frames=4,
    begin=0,
    chapters=(),
):
    """Write a film of 10 frames/s with 0.4 s of a tone per channel; FFmpeg may refuse."""
    with av.open(path, "w", format=container) as film:
        video = film.add_stream("mpeg4", rate=10, width=32, height=24)
        video.metadata["timecode"] = "01:02:03:04"
        film.set_chapters(list(chapters))
        options = {"strict": "experimental"}
        rate = {"bit_rate": 0 if "pcm" in codec else 256_000}
        track = film.add_stream(codec, rate=RATE, layout=layout, options=options, **rate)
        others = [add(film) for add in more]
        at = 2 * np.pi / RATE * np.arange(RATE * frames // 10)[:, None]
        wave = 8000 * np.sin(at * _pitches(layout))
        heard = av.AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), "s16", layout)
        heard.rate, heard.pts, heard.time_base = RATE, begin, Fraction(1, RATE)
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
        assert not any("mixed" in str(outcome) for outcome in outcomes)
        cells.append(" or ".join(sorted({each[0] for each in outcomes if each}, reverse=True)))
    assert f"| `{codec}` | {' | '.join(cells)} |" in PAGE.read_text().splitlines()


@pytest.mark.parametrize(
    ("codec", "layout", "suffix", "expected"),
    [
        ("pcm_s16le", "2C", ".mp4", "aac stereo"),
        ("pcm_mulaw", "1C", ".mkv", "aac mono"),
        ("wmav2", "stereo", ".mp4", "aac stereo"),
        ("ac3", "5.1(side)", ".webm", "opus 5.1"),
        ("flac", "7.1", ".mov", "aac 7.1"),
        ("aac", "stereo", ".mp4", "copied stereo"),
    ],
)
def test_sound_is_kept(model, tmp_path, codec, layout, suffix, expected):
    way, written, notes = _outcome(model, tmp_path, codec, layout, suffix)
    assert f"{way} {written}" == expected
    assert not any("mixed" in note for note in notes)


@pytest.mark.parametrize("layout", RARE)
def test_layouts_that_no_encoder_knows_are_mixed(model, tmp_path, layout):
    cells = []
    for suffix in (".mp4", ".webm"):
        _, written, notes = _outcome(model, tmp_path, "pcm_u8", layout, suffix)
        cells.append(f"{written}, noted" if notes else written)
        assert not notes or f" to {written}" in notes[0]
    assert f"| {layout} | {' | '.join(cells)} |" in PAGE.read_text().splitlines()


def test_subtitles_chapters_timecode_and_attachments_are_kept_or_noted(model, tmp_path):
    text = av.open(BytesIO(b"1\n00:00:00,100 --> 00:00:00,300\nBonjour\n"), format="srt")

    def subtitles(film):
        packet = next(text.demux())
        packet.stream = film.add_stream_from_template(text.streams[0])
        return packet

    def font(film):
        film.add_attachment("a.ttf", "font/ttf", b"font")

    unit = Fraction(1, 1000)
    parts = [(0, 200, "One"), (200, 400, "Two")]
    chapters = [
        {"id": n, "start": a, "end": b, "time_base": unit, "metadata": {"title": title}}
        for n, (a, b, title) in enumerate(parts)
    ]
    source = _write(tmp_path / "in.mkv", more=(subtitles, font), chapters=chapters)
    for suffix in FORMATS:
        done = _colorize(model, source, target := tmp_path / f"out{suffix}")
        with av.open(target) as film:
            titles = [chapter["metadata"]["title"] for chapter in film.chapters()]
            metadata = {k.lower(): v for k, v in film.streams.video[0].metadata.items()}
            kinds = {stream.type for stream in film.streams}
        assert titles == ["One", "Two"]
        assert metadata["timecode"].startswith("01:02:03:")
        assert not done.sound_lost
        if suffix == ".mkv":
            assert kinds >= {"subtitle", "attachment"}
            assert done.notes == []
        else:
            held = f"which {FORMATS[suffix].container} cannot hold"
            tracks = (f"subtitle track 2 (srt), {held}", f"attachment track 3 (a.ttf), {held}")
            assert done.notes == list(tracks)


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_film_whose_sound_cannot_be_written_is_colored(
    tmp_path, command, monkeypatch, capsys, when
):
    if when == "before":
        monkeypatch.setattr(tracks, "can_write", lambda *_: False)
    else:
        monkeypatch.setattr(tracks, "can_write", lambda *words: len(words) == 4)  # re-encoded
        monkeypatch.setattr(tracks.Track, "end", lambda _: av.error.err_check(-22))
    source = _write(tmp_path / "in.avi")
    words = (source, tmp_path / "out.mp4", "--checkpoint", "default", "--size", 64)
    assert command("colorize", *words) == 1
    assert "lost from" in (error := capsys.readouterr().err)
    words = {"before": "(pcm_s16le, 2 channels), which cannot", "during": "after 0.4 seconds"}
    assert f"audio track 1 {words[when]}" in error
    with av.open(tmp_path / "out.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) == 4


def test_sound_that_changes_its_layout_or_begins_late_is_kept(model, tmp_path):
    parts = [
        _write(tmp_path / "part.ts", "ac3", layout).read_bytes() for layout in ("stereo", "5.1")
    ]
    (source := tmp_path / "in.ts").write_bytes(b"".join(parts))
    done = _colorize(model, source, target := tmp_path / "out.webm")
    assert (done.frames, done.sound_lost) == (8, False)
    with av.open(target) as film:
        assert sum(frame.samples for frame in film.decode(audio=0)) / RATE > 0.75
    late = _write(tmp_path / "late.mkv", "eac3", begin=3 * RATE, frames=40)
    _colorize(model, late, target := tmp_path / "out.mp4")
    with av.open(target) as film:
        assert next(film.decode(audio=0)).time == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_frames_before_a_failure_can_be_played(model, tmp_path, monkeypatch, suffix):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    source = _write(tmp_path / "in.avi", frames=12)
    frames = colorize_film(model, source, tmp_path / f"out{suffix}", Options(batch_size=4))
    for _ in range(8):
        next(frames)
    monkeypatch.setattr(film_module, "predict", fail)
    with pytest.raises(
        WorkError, match=rf"after 8 frames, which are in .*out\.part\{suffix}: No sp"
    ):
        next(frames)
    with av.open(tmp_path / f"out.part{suffix}") as film:
        assert sum(1 for _ in film.decode(video=0)) == 8
    monkeypatch.undo()
    _colorize(model, source, tmp_path / f"out{suffix}")
    assert {path.name for path in tmp_path.iterdir()} == {"in.avi", f"out{suffix}"}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_frames_before_a_kill_can_be_played(tmp_path, suffix):
    source = _write(tmp_path / "in.avi", frames=100)
    code = """if True:
        import os
        from tests.inference.test_film_tracks import *
        source, target = map(Path, sys.argv[1:])
        for n, _ in enumerate(colorize_film(follower(), source, target, Options())):
            if n == 90:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    words = [sys.executable, "-c", code, source, tmp_path / f"out{suffix}"]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    with av.open(tmp_path / f"out.part{suffix}") as film:
        assert sum(packet.size > 0 for packet in film.demux(video=0)) > 10


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_display_matrix_is_applied(model, tmp_path, orientation):
    upright = np.full((24, 32, 3), 40, np.uint8)
    upright[:12, :16], upright[:12, 16:], upright[12:, :16] = 220, 160, 100
    source = tmp_path / "in.mp4"
    stored = stored_pixels(upright, orientation)
    with av.open(source, "w") as film:
        video = film.add_stream("mpeg4", rate=10, width=stored.shape[1], height=stored.shape[0])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
        film.mux([*video.encode(frame), *video.encode(None)])
    # Position in the upright image, right and down, per pixel to the right and down as stored.
    right, down = {
        1: ((1, 0), (0, 1)),
        2: ((-1, 0), (0, 1)),
        3: ((-1, 0), (0, -1)),
        4: ((1, 0), (0, -1)),
        5: ((0, 1), (1, 0)),
        6: ((0, 1), (-1, 0)),
        7: ((0, -1), (-1, 0)),
        8: ((0, -1), (1, 0)),
    }[orientation]
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    matrix = (right[0] * one, right[1] * one, 0, down[0] * one, down[1] * one, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *matrix)
    source.write_bytes(data)
    _colorize(model, source, target := tmp_path / "out.mkv")
    with av.open(target) as film:
        grey = next(film.decode(video=0)).to_ndarray(format="rgb24").mean(axis=2)
    assert grey.shape == (24, 32)
    assert np.abs(grey[6::12, 8::16] - [[220, 160], [100, 40]]).max() < 12
