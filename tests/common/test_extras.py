"""Each command whose extra is missing names the command that has it, before it works."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lightning_colorize.common.bundled import BUNDLED, DEFAULT, bundled

EXTRAS = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
DDPM, TEXT = (bundled("experiments") / f"{name}.yaml" for name in ("ddpm", "flow_text"))
SOURCES = bundled("experiments") / "source"
FIT = f"fit --config {bundled('experiments')}/quickstart.yaml --run.root RUNS"
HUB = f"{FIT} --data.source {SOURCES}/huggingface.yaml --data.root me/photos"
TARS = f"{FIT} --data.source {SOURCES}/webdataset.yaml --data.root"

NEEDED = [
    ("cluster", "optuna-dashboard", "dashboard --study OUT"),
    ("cluster", "psycopg", "sweep status postgresql://me@127.0.0.1:1/studies"),
    ("cluster", "psycopg", "dashboard --study postgresql://me@127.0.0.1:1/studies"),
    ("cluster", "submitit", "launch --time 240 --config nowhere.yaml"),
    ("shards", "aiohttp", f"{TARS} http://127.0.0.1:1/tars"),
    ("shards", "s3fs", f"{TARS} s3://bucket/tars"),
    ("shards", "s3fs", f"audit s3://bucket/tars --source {SOURCES}/webdataset.yaml"),
    ("huggingface", "datasets", HUB),
    ("demo", "gradio", "demo --port 59999"),
    *(("onnx", name, "export MODEL OUT --format web") for name in ("onnx", "onnxscript")),
    ("onnx", "onnxruntime", "export MODEL new.onnx"),
    ("onnx", "onnxscript", "export MODEL new.onnx --int8 PHOTOS"),
    ("onnx", "onnxruntime", "colorize PHOTOS OUT --checkpoint old.onnx"),
    ("onnx", "onnxruntime", "evaluate old.onnx --data PHOTOS"),
    ("film", "av", "colorize film.mp4 OUT"),
    ("metrics", "torch-fidelity", "protocol stretch256 MODEL --data PHOTOS --metric fid"),
    ("mlflow", "mlflow-skinny", f"{FIT} --data.root PHOTOS --run.loggers.mlflow RUNS"),
    ("diffusion", "diffusers", f"fit --config {DDPM} --data.root PHOTOS --run.root RUNS"),
    ("diffusion", "diffusers", f"describe {DDPM}"),
    ("diffusion", "transformers", f"describe {TEXT}"),
    ("heif", "pillow-heif", "colorize old.heic OUT"),
]


@pytest.mark.parametrize(("extra", "package", "words"), NEEDED, ids=[w[2][:40] for w in NEEDED])
def test_a_missing_extra_is_named(extra, package, words, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": BUNDLED[DEFAULT], "PHOTOS": command.photos, "RUNS": tmp_path / "runs"}
    for name in ("old.onnx", "film.mp4", "old.heic"):
        Path(name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    module = package.removesuffix("-skinny").replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    assert command(*(places.get(word, word) for word in words.split())) in (1, 2)
    err = capsys.readouterr().err
    assert re.search(rf"needs? {module}: uv run --extra {extra} ", err)
    assert not Path("runs").exists()
    assert not list(tmp_path.glob("OUT/*.[!j]*"))  # but a list of what failed


def test_all_extras_are_walked():
    listed = {(extra, Requirement(line).name) for extra in EXTRAS for line in EXTRAS[extra]}
    assert listed == {(extra, package) for extra, package, _ in NEEDED}
