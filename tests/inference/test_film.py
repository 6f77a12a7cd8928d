"""Films: sound, time and lightness stay, colors do not flicker."""

import errno
import io
import os
import shutil
import struct
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.color import to_lab, to_lightness
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.inference import Colorizer, Options, load_model
from lightning_colorize.inference import film as film_module
from lightning_colorize.inference.film import colorize_film, frame_references
from lightning_colorize.inference.motion import ColorFollower, find_motion
from lightning_colorize.models.control import Reference
from tests.painters import follower

av = pytest.importorskip("av")

_SIZE = 64  # pixels that the network sees


@pytest.fixture(scope="module")
def model():
    return load_model("default").model


def _grey(name, height, width):
    image = Image.open(bundled("photographs") / f"{name}.jpg").resize((width, height))
    return np.repeat(np.asarray(image.convert("L"))[..., None], 3, axis=2)


def _pan(name="balloons", frames=12, height=96, width=128):
    """Return a window that moves by 2 pixels a frame."""
    image = _grey(name, height, width + 2 * frames)
    return [image[:, 2 * n : 2 * n + width] for n in range(frames)]


def _add_video(film, codec, shape, rate=24, **options):
    video = film.add_stream(codec, rate=rate, options=options)
    video.height, video.width = shape[:2]
    video.pix_fmt = "yuv444p" if video.height % 2 else "yuv420p"
    return video


def _add_frame(film, video, pixels, time, rate=24):
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame.pts, frame.time_base = time, Fraction(1, rate)
    film.mux(video.encode(frame))


def _write(path, frames, times=None, sound=True):
    """Write a film of 24 frames/s, or with frames at given 24ths of a second."""
    with av.open(path, "w") as film:
        video = _add_video(film, "libx264", frames[0].shape, crf="8")
        if sound:
            audio = film.add_stream("aac", rate=16000)
            wave = np.sin(np.arange(8192) / 9, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.rate = 16000
            film.mux([*audio.encode(frame), *audio.encode(None)])
        for time, pixels in zip(times or range(len(frames)), frames, strict=True):
            _add_frame(film, video, pixels, time)
        film.mux(video.encode(None))
    return path


def _read(path):
    with av.open(path) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def _packets(path, kind):
    with av.open(path) as film:
        packets = film.demux(**{kind: 0})
        return [(p.pts * p.time_base, bytes(p)) for p in packets if p.size]


def _ab(frames):
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    return to_lab(pixels)[1]


def _colorize(model, source, target, limit=None, **options):
    model.size = _SIZE
    *_, done = colorize_film(model, source, target, Options(**options), limit)
    return done


def test_sound_and_time_stay_as_they_are(model, tmp_path):
    times = [0, 1, 2, 5, 6, 7, 8, 12, 13, 14, 20, 21]  # frames of unequal length
    source = _write(tmp_path / "in.mp4", _pan(), times)
    done = _colorize(model, source, target := tmp_path / "out.mp4")
    assert (done.frames, done.cuts, done.damaged) == (12, 0, 0)
    assert _packets(target, "audio") == _packets(source, "audio")
    assert [t for t, _ in sorted(_packets(target, "video"))] == [Fraction(t, 24) for t in times]
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["in.mp4", "out.mp4"]


def test_a_film_of_unequal_frames_is_complete(model, tmp_path):
    times = [*range(8), *range(24, 120, 24)]
    done = _colorize(model, _write(tmp_path / "in.mkv", _pan(), times), tmp_path / "out.mkv")
    assert (done.frames, done.notes) == (12, [])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_film_is_colored_and_keeps_its_lightness(model, tmp_path, suffix):
    frames = _pan(frames=5, height=97, width=121)  # odd
    source = _write(tmp_path / "in.mkv", frames, sound=False)
    _colorize(model, source, target := tmp_path / f"out{suffix}")
    colored = _read(target)
    assert [frame.shape for frame in colored] == [frame.shape for frame in frames]
    L, given = (
        to_lab(torch.from_numpy(np.stack(f)).permute(0, 3, 1, 2))[0] for f in (colored, frames)
    )
    assert (L - given).abs().mean() < 1.5
    assert _ab(colored).norm(dim=1).mean() > 8


def _flicker(frames, shift):
    """Return the mean change of ab at what is seen, which moves by some pixels a frame."""
    ab = _ab(frames)
    width = ab.shape[-1]
    return float((ab[1:, ..., : width - shift] - ab[:-1, ..., shift:]).abs().mean())


def test_a_pan_flickers_less_than_frame_by_frame(model, tmp_path):
    frames = _pan("people", frames=24)
    source = _write(tmp_path / "in.mp4", frames)
    done = _colorize(model, source, target := tmp_path / "out.mp4")
    followed = _read(target)
    alone = [Colorizer(model).colorize(frame, _SIZE) for frame in frames]
    assert _flicker(followed, 2) < 0.5 * _flicker(alone, 2)
    assert done.flicker < 0.5 * done.flicker_frame_by_frame
    # Not because it is paler.
    assert _ab(followed).norm(dim=1).mean() > 0.8 * _ab(alone).norm(dim=1).mean()


def test_all_frames_have_the_same_sample(tmp_path):
    frames = [np.full((96, 128, 3), 100 + 5 * n, np.uint8) for n in range(4)]
    source = _write(tmp_path / "in.mp4", frames, sound=False)
    done = _colorize(follower(draws=True), source, target := tmp_path / "out.mp4")
    assert done.flicker_frame_by_frame < 0.5
    assert _ab(_read(target)).std() > 1  # noise


def test_a_cut_between_like_scenes_is_found():
    frames = [
        _grey(name, 600, 800)[top : top + 480, left : left + 640]
        for name, left, top in (("surfer", 114, 76), ("surfer", 117, 78), ("balloons", 0, 0))
    ]
    reduced = [resize_short_side(torch.from_numpy(each).permute(2, 0, 1), 128) for each in frames]
    follower = ColorFollower()
    for before, L in pairwise([None, *(to_lightness(each[None]) for each in reduced)]):
        motion = None if before is None else find_motion(before, L)
        follower.follow(L, torch.zeros(1, 2, *L.shape[2:]), motion)
    assert follower.progress.cuts == 1


@pytest.mark.parametrize("share", [1, 0.15])
def test_a_cut_begins_with_new_colors(model, tmp_path, share):
    first, second = (
        [(share * frame).astype(np.uint8) for frame in _pan(name, frames=6)]
        for name in ("balloons", "guinea_pig")
    )
    source = _write(tmp_path / "in.mp4", first + second, sound=False)
    done = _colorize(model, source, target := tmp_path / "out.mp4", batch_size=4)
    assert (done.frames, done.cuts) == (12, 1)
    alone = _ab([Colorizer(model).colorize(second[0], _SIZE)])
    assert (_ab(_read(target)[6:7]) - alone).abs().mean() < 2


def test_a_rotated_film_is_colored_upright(model, tmp_path):
    frames = _pan(frames=3)
    turned = [np.rot90(frame, -1) for frame in frames]
    source = _write(tmp_path / "in.mp4", turned, sound=False)
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 44
    quarter = (0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *quarter)
    source.write_bytes(data)
    _colorize(model, source, target := tmp_path / "out.mp4")
    (first, *_) = _read(target)
    assert first.shape == frames[0].shape
    difference = first.mean(axis=2) - frames[0].mean(axis=2)
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize(
    ("limit", "suffix"), [(1, ".mp4"), (15, ".mkv"), (16, ".webm"), (20, ".mp4")]
)
def test_the_sound_of_the_first_frames_ends_with_them(model, tmp_path, suffix, limit):
    source = tmp_path / "in.avi"
    with av.open(source, "w") as film:
        video = _add_video(film, "mpeg4", (96, 128), rate=10)
        audio = film.add_stream("pcm_s16le", rate=16000, layout="mono")
        for n, pixels in enumerate(_pan(frames=20)):
            _add_frame(film, video, pixels, n, rate=10)
            heard = av.AudioFrame.from_ndarray(np.full((1, 1600), 9, np.int16), "s16", "mono")
            heard.rate, heard.pts = 16000, 1600 * n
            film.mux(audio.encode(heard))
        film.mux([*video.encode(None), *audio.encode(None)])
    target = tmp_path / f"out{suffix}"
    assert _colorize(model, source, target, limit=limit).frames == limit == len(_read(target))
    with av.open(target) as film:
        seconds = sum(each.samples / each.sample_rate for each in film.decode(audio=0))
    assert limit / 10 - 0.01 < seconds < limit / 10 + 0.07  # a packet has 0.064 s


def test_other_files_are_one_line(model, tmp_path):
    (text := tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(UsageError, match=r"text\.mp4 cannot be read as a film"):
        _colorize(model, text, tmp_path / "out.mp4")
    with pytest.raises(UsageError, match=r"none\.mp4 cannot be read as a film: No such file"):
        _colorize(model, tmp_path / "none.mp4", tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["text.mp4"]
    _write(tmp_path / "private.mkv", _pan(frames=2))
    text.write_text("ffconcat version 1.0\nfile private.mkv\n")  # of other files
    with pytest.raises(UsageError, match=r"text\.mp4 cannot be read as a film"):
        _colorize(model, text, tmp_path / "out.mp4")


def test_films_that_were_joined_keep_their_frames(model, tmp_path):
    part = _write(tmp_path / "part.ts", _pan(frames=6)).read_bytes()
    (joined := tmp_path / "in.ts").write_bytes(part + part)
    done = _colorize(model, joined, target := tmp_path / "out.mp4")
    assert done.frames == len(_read(target)) == 12
    assert done.damaged


@pytest.mark.parametrize("kind", ["damaged", "cut"])
def test_a_film_is_colored_as_far_as_it_can_be_read(model, tmp_path, kind):
    source = _write(tmp_path / "in.mkv", _pan("moose", frames=24), sound=False)
    data = source.read_bytes()
    middle = len(data) // 2
    damaged = data[:middle] + bytes(3000) + data[middle + 3000 :]
    source.write_bytes(damaged if kind == "damaged" else data[: len(data) * 9 // 10])
    done = _colorize(model, source, target := tmp_path / "out.mkv")
    assert 1 <= done.frames < 24
    assert len(_read(target)) == done.frames
    if kind == "damaged":
        assert done.damaged
    else:
        assert done.notes == [f"all after {done.frames / 24:.1f} of 1.0 seconds"]


def test_a_lack_of_memory_is_one_line(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    source = _write(tmp_path / "in.mp4", _pan(frames=2))
    monkeypatch.setattr(film_module, "predict", fail)
    with pytest.raises(WorkError, match=r"in\.mp4: out of memory; lower --batch-size"):
        _colorize(model, source, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_a_full_disk_is_one_line(model, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            if self.tell() + len(content) > 40_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 128, 1), np.uint8).repeat(3, axis=3)
    source = _write(tmp_path / "in.mp4", list(noise), range(0, 1200, 24))  # fragments of a frame
    monkeypatch.setattr(film_module, "atomic_file", lambda *_, **__: nullcontext(Full()))
    with pytest.raises(WorkError, match=r"in\.mp4 was not .*: No space left on device$"):
        _colorize(model, source, tmp_path / "out.mp4")


def test_a_folder_is_not_a_film(error_of, tmp_path):
    (folder := tmp_path / "scans.mp4").mkdir()
    assert error_of("colorize", folder, tmp_path / "out").endswith("scans.mp4 is not a file")


def test_the_command(command, tmp_path, capsys):
    source = _write(tmp_path / "in.mov", _pan(frames=4))
    words = ("colorize", source, tmp_path / "out", "--checkpoint", "default", "--size", _SIZE)
    (tmp_path / "out").mkdir()
    assert command(*words) == 0
    assert "frames colorized: 4, cuts: 0, flicker " in capsys.readouterr().out
    written = tmp_path / "out" / "in.mov"
    before = written.read_bytes()
    assert command(*words) == 0
    assert "--overwrite replaces it" in capsys.readouterr().out
    assert written.read_bytes() == before
    assert command(*words, "--overwrite", "--json", "--limit", 2) == 0
    assert '"frames": 2' in capsys.readouterr().out


def test_frames_have_the_colors_of_the_references_they_correspond_to(command, tmp_path, capsys):
    (references := tmp_path / "references").mkdir()
    errors = {}
    frames, truth = [], []
    for name in ("coffee", "astronaut"):
        shot = _pan(name, frames=4)
        image = Image.open(bundled("photographs") / f"{name}.jpg").resize((136, 96))
        image.crop((4, 0, 132, 96)).save(references / f"{name}.png")
        frames += shot
        truth += [np.asarray(image.crop((2 * n, 0, 2 * n + 128, 96))) for n in range(4)]
    source = _write(tmp_path / "in.mp4", frames)
    for words in ((), ("--reference", references), ("--reference", references / "coffee.png")):
        out = tmp_path / f"out{len(errors)}.mp4"
        assert command("colorize", source, out, "--review", 9, *words) == 0
        error = (_ab(_read(out)) - _ab(truth)).norm(dim=1).mean((1, 2))
        errors[len(errors)] = error[:4].mean().item(), error[4:].mean().item()
    printed = capsys.readouterr().err
    assert "references correspond to 8 of 8 frames" in printed
    assert "references correspond to 4 of 8 frames" in printed
    assert f"first frames of the shots -> {tmp_path / 'out1_shots'}\n" in printed
    plain, both, first = errors.values()
    shots = sorted((tmp_path / "out1_shots").iterdir())
    assert [shot.name for shot in shots] == ["000000.png", "000004.png"]
    frames = [np.asarray(Image.open(shot), float) for shot in shots]
    written = _read(tmp_path / "out1.mp4")
    assert all(np.abs(frames[n] - written[4 * n]).mean() < 5 for n in range(2))
    assert both[0] < 0.6 * plain[0]
    assert both[1] < 0.6 * plain[1]
    assert first[0] < 0.6 * plain[0]
    assert first[1] == pytest.approx(plain[1], rel=0.1)  # nothing corresponds


def test_references_of_frames_act_between_their_neighbors(command, tmp_path):
    (references := tmp_path / "references").mkdir()
    image = Image.open(bundled("photographs") / "coffee.jpg").resize((150, 96))
    frames = [np.asarray(image.crop((n, 0, n + 128, 96))) for n in range(22)]
    turned = [frame[..., ::-1] for frame in frames]  # red is blue
    Image.fromarray(frames[0]).save(references / "0.png")
    Image.fromarray(turned[10]).save(references / "00-00-00.417.png")  # at 24 frames per second
    Image.fromarray(frames[21]).save(references / "000021.png")
    grey = [np.asarray(Image.fromarray(frame).convert("L").convert("RGB")) for frame in frames]
    source = _write(tmp_path / "in.mp4", grey)
    assert command("colorize", source, tmp_path / "out.mp4", "--reference-frames", references) == 0
    colors = _ab(_read(tmp_path / "out.mp4")).mean((2, 3))
    one, other = (_ab(each).mean((2, 3)) for each in (frames, turned))
    share = ((colors - one) * (other - one)).sum(1) / (other - one).square().sum(1)
    assert share.max() > share[0] + 0.15
    assert share.argmax() in range(10, 18)  # colors are carried along
    assert share[21] < share.max()


def test_references_are_of_frames_by_time_in_any_film(tmp_path):
    source = _write(tmp_path / "in.mkv", _pan(frames=5), [0, 1, 2, 20, 21])  # in 24ths of a second
    names = [f"{seconds}.png" for seconds in ("00-00-00.00", "00-00-00.80", "00-00-00.89", "2")]
    references = [Reference(name, torch.zeros(3, 16, 16)) for name in names]
    assert [each.frame for each in frame_references(references, source)] == [0, 3, 4, 2]
    with pytest.raises(UsageError, match="beyond the end; the film has frames 0 to 4"):
        frame_references([replace(references[0], name="5.png")], source)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["000004.png"], "4.png is beyond the end; the film has frames 0 to 3"),
        (["00-01-00.png"], "00-01-00.png is beyond the end; the film has frames 0 to 3"),
        (["3.png", "00-00-00.125.png"], "two references are of frame 3: "),
        (["first.png"], "is not named by a frame, as 000120.png, or a time, as 00-00-04.800.png"),
    ],
)
def test_references_of_no_frame_are_refused(error_of, tmp_path, names, message):
    (references := tmp_path / "references").mkdir()
    for name in names:
        shutil.copy(bundled("photographs") / "coffee.jpg", references / name)
    source = _write(tmp_path / "in.mp4", _pan(frames=4))
    error = error_of("colorize", source, tmp_path / "out.mp4", "--reference-frames", references)
    assert message in error
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("out.gif",), "films are written as .mp4, .mov, .mkv, .webm"),
        (("in.mp4",), "is also INPUT"),
        (("out.mp4", "--sheet"), "--sheet is for images"),
        (("out.mp4", "--shard", "1/2"), "--shard is for images"),
        (("out.mp4", "--max-pixels", "10"), "--max-pixels is for images"),
        (("out.mp4", "--samples", "2"), "--samples is for images"),
        (("out.mp4", "--palette", "red"), "--palette is for images"),
        (("new.mp4", "--review", "1"), "new_shots exists; move it"),
        (("out.mp4", "--checkpoint", "a=default"), "a film takes one --checkpoint"),
    ],
)
def test_what_is_not_for_films_is_one_line(command, tmp_path, capsys, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    Path("in.mp4").touch()
    Path("new_shots").mkdir()
    assert command("colorize", "in.mp4", *words) == 2
    assert reason in capsys.readouterr().err
    assert sorted(os.listdir()) == ["in.mp4", "new_shots"]
