"""Wrong use of each command: exit code 2 and one line; nothing is written."""

import shutil

import pytest
import yaml

from tests.conftest import write_images

SOURCE = "class_path: lightning_colorize.data.sources.FolderSource\ninit_args: "
FILES = {
    "empty.txt": "",
    "mine.safetensors": "mine",
    "carded.safetensors.md": "mine",
    "small.yaml": "size: 32\nshape: crop\n",
    "their.yaml": "command: their {input} {output}\n",
    "typo.yaml": SOURCE + "{max_image: 3}\n",
    "value.yaml": SOURCE + "{max_images: 0}\n",
    "task.yaml": "class_path: lightning_colorize.tasks.RegressionTask\n",
    "weights.csv": "path,split,weight\none/000.png,train,2\n",
}
COMPARE = "compare --data PHOTOS --out page"
EVALUATE = "evaluate RUN --data PHOTOS"
GRID = "tune-decoding RUN --data PHOTOS"
SWEEP = "sweep run GIVEN/sweep.yaml --engine local"
# RUN: a finished run; PHOTOS: its images; GIVEN: a folder with FILES; FIT: words of a training.
OUT_OF_RANGE = {
    "bench": ["--batch-size -1", "--seconds 0"],
    "dashboard --root .": ["--port 70000"],
    "demo": ["--port 0"],
    EVALUATE: ["--size 0", "--size 16385"],
    "pack PHOTOS shards": ["--quality 101"],
    "router RUN x.safetensors dark=RUN": ["--confidence 2"],
    "study score nothing.json": ["--seed -1"],
    SWEEP: ["--workers 0"],
}
CASES = {
    **{
        f"{command} {option}": option.replace(" ", ": ") + " must be "
        for command, options in OUT_OF_RANGE.items()
        for option in options
    },
    "train": "unknown command 'train'; choose from fit, resume",
    "audit none": "none does not exist: give an image folder",
    "audit . --source none.yaml": "--source none.yaml",
    "audit . --source GIVEN/typo.yaml": "typo.yaml does not describe a source (FolderSource",
    "audit . --source GIVEN/value.yaml": "max_images is 0",
    "audit . --source GIVEN/task.yaml": "is not a Source",
    "audit . --exclude-to GIVEN/typo.yaml": "typo.yaml already exists",
    "bench --workers 2 -1": "--workers: -1",
    "bench --device abacus": "--device abacus",
    "bench --data nowhere": "nowhere does not exist: --data",
    "bench --data GIVEN/empty": "is empty: put images into it, or name another",
    "colorize PHOTOS out --checkpoint nowhere": "nowhere does not exist",
    "colorize PHOTOS out --checkpoint PHOTOS/test/030.png": "not a checkpoint",
    "colorize PHOTOS out --shard 3/2": "3/2 is not one of 1/2 to 2/2",
    "colorize PHOTOS out --shard half": "half is not a part such as 2/8",
    "colorize PHOTOS out --steps 4": "setting of the bundled default-samples: add --samples N",
    "colorize PHOTOS out --samples 2 --vividness 1": "of the bundled default: omit --samples",
    "colorize PHOTOS out --samples 1001": "--samples: 1001 must be from 1 to 1000",
    "colorize PHOTOS out --seed 3": "--seed is for models that sample",
    f"colorize PHOTOS/test/030.png {'x' * 300}": "File name too long",
    "colorize PHOTOS out --checkpoint RUN --checkpoint default": "give each its own NAME=",
    # The results of test/030.png and 030.png could be the same file.
    "colorize PHOTOS out --checkpoint default --checkpoint test=default": "give each its own NAME=",
    "colorize PHOTOS out --checkpoint a/b=RUN": "without a slash",
    "colorize PHOTOS/test PHOTOS --checkpoint test=RUN --overwrite": "OUTPUT is INPUT: ",
    "colorize PHOTOS/test/030.png PHOTOS/test --overwrite": "OUTPUT is INPUT: ",
    "colorize PHOTOS/test/030.png a.jpg --sheet": "needs a folder as OUTPUT",
    "colorize PHOTOS/test/030.png a.jpg --checkpoint cnn=RUN": "needs a folder as OUTPUT",
    f"{COMPARE} a=RUN a=RUN": "two systems are named a",
    f"{COMPARE} a=nowhere": "nowhere does not exist",
    f"{COMPARE} a=wandb:model:v0": "give wandb:ENTITY/PROJECT/ARTIFACT:ALIAS",
    f"{COMPARE} a=RUN --data nowhere": "nowhere does not exist",
    f"{COMPARE} truth=PHOTOS": "truth is a reserved name",
    f"{COMPARE} a=GIVEN/empty": "neither a run folder",
    f"{COMPARE} a=RUN --out PHOTOS/page": "is inside --data",
    f"{COMPARE} a=RUN other=PHOTOS/val": "contains none of the 3 images",
    f"{COMPARE} a=RUN --no-truth --study": "--study needs true colors or two systems",
    f"{COMPARE} a=RUN --out GIVEN/empty.txt": "is a file",
    f"{COMPARE} a=RUN --out GIVEN/empty.txt/a": "index.html cannot be written: Not a directory",
    COMPARE: "compare",
    "dashboard --root nowhere": "nowhere is not a folder",
    "dashboard --study nowhere": "does not exist",
    "demo --checkpoint default --checkpoint default": "two models have the same name",
    "demo --checkpoint nothing.ckpt": "nothing.ckpt does not exist",
    "demo --host=": "--host is empty: give an address",
    "demo --host 192.0.2.1": "--host 192.0.2.1 --port 7860: Cannot assign requested address\n",
    "evaluate RUN --data nowhere": "nowhere does not exist",
    "evaluate nowhere --data PHOTOS": "nowhere does not exist",
    "evaluate nowhere --data PHOTOS --json .": "--json . is a folder; give a file",
    "evaluate RUN": "--data",
    f"{EVALUATE} --group-by hue,size": "'size' is none of folder, hue, chroma",
    f"{EVALUATE} --palettes": "accepts hints, reference, not palette",
    f"{EVALUATE} --hint-points=1,x": "invalid counts value: '1,x'",
    f"{EVALUATE} --labels": "accepts hints, reference, not label",
    f"{EVALUATE} --vividnesss 1": "did you mean --vividness?",
    "evaluate default --data PHOTOS --vividness 2": "vividness must be from 0 to 1, not 2",
    "evaluate default --data PHOTOS --sparkle 1": "no setting sparkle; this model has vividness",
    "evaluate RUN --data GIVEN/one --split val": "val",
    "evaluate RUN --data GIVEN/parts --split test": "has no test images, only train, val",
    "export RUN model.ckpt": "must end with .safetensors or .onnx or .pt2",
    "export RUN model.onnx --format torch-export": "must end with .pt2",
    "export RUN new.safetensors --whole-image": "are for ONNX: give FILE.onnx",
    "export RUN GIVEN/carded.safetensors": "carded.safetensors.md exists; --overwrite replaces it",
    "export RUN GIVEN/mine.safetensors": "exists; --overwrite replaces it",
    "export RUN new.safetensors --vividness 1": "no setting vividness",
    "export GIVEN/their.yaml a.safetensors": "their.yaml describes no model",
    "export GIVEN/their.yaml page --format web": "their.yaml describes no model",
    "init GIVEN/empty.txt": "empty.txt is a file; give a folder",
    "pack PHOTOS shards --exclude-list none.txt": "exclude_list: none.txt cannot be read",
    "pack PHOTOS shards --label breed": "--label and --text name columns of a CSV list, ",
    "pack PHOTOS GIVEN/empty.txt/shards": "Not a directory",
    "pack PHOTOS GIVEN/empty.txt": "Not a directory",
    "pack PHOTOS PHOTOS/shards": "choose a folder outside of it",
    "pack PHOTOS s3://bucket/shards": "must be a local folder: pack there, then upload it",
    "pack GIVEN/empty shards": "is empty: put images into it",
    "pack GIVEN/weights.csv shards": "has weights, which shards do not support",
    "protocol GIVEN/small.yaml PHOTOS/test --data PHOTOS/test --size 32": "--size has no effect",
    "protocol GIVEN/small.yaml RUN --data PHOTOS/test --metric fif": "--metric fif",
    "protocol native RUN --data PHOTOS --json GIVEN/empty.txt": "exists; --overwrite replaces it",
    "protocol GIVEN/small.yaml GIVEN/two --data PHOTOS/test": "; a protocol needs all 3 images",
    "protocol GIVEN/small.yaml GIVEN/two --data GIVEN/two": "only 1 of 2 images can be read; a ",
    "router RUN x.ckpt dark=RUN": "must end with .safetensors",
    "router RUN x.safetensors RUN": "give CATEGORY=CKPT_OR_RUN",
    "router RUN x.safetensors cats=RUN": "no category cats in the training data",
    "router RUN x.safetensors dark=nowhere": "nowhere does not exist",
    "study score nothing.json": "No such file",
    "study score nothing.json --json .": "--json . is a folder",
    "study score": "FILE",
    "study rank": "score",
    f"{SWEEP} --storage mysql://host/x": "mysql",
    f"{SWEEP} --partition gpu": "--partition needs --launcher slurm; add that",
    **{
        f"sweep {action} none": "does not exist"
        for action in ("status", "stop", "resume", "join", "export", "report")
    },
    f"{GRID} --store 0.5": "required: NAME=VALUES",
    f"{GRID} strength=9": "strength must be from 0 to 1.5",
    f"{GRID} size=48 --size 32": "size=48 enlarges images of --size 32",
    f"{GRID} strength=1 --store nan": "nan must be at least 0",
    f"{GRID} strength=1 --store 50": "no setting of the grid has",
}


@pytest.fixture(scope="module")
def given(photo_folder, tmp_path_factory):
    """A folder of files and images for the commands; read only."""
    folder = tmp_path_factory.mktemp("given")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    sweep = {"method": "grid", "command": ["true", "${args}"], "parameters": {"x": {"value": 1}}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (folder / "empty").mkdir()
    write_images(folder / "one", 1)
    write_images(folder / "two", 2, first=30)  # of the test images
    (folder / "two" / "031.jpg").write_bytes(b"no image")
    for split in ("train", "val"):
        shutil.copytree(photo_folder / split, folder / "parts" / split)
    return folder


def contents(*folders):
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path: path.is_file() and path.read_bytes() for path in paths}


@pytest.mark.parametrize("words", CASES)
def test_wrong_use_is_one_line_and_writes_nothing(
    command, finished_run, photo_folder, given, tmp_path, monkeypatch, capsys, words
):
    monkeypatch.chdir(tmp_path)
    before = contents(given, photo_folder, finished_run)
    paths = {"RUN": finished_run, "PHOTOS": photo_folder, "GIVEN": given}
    called = []
    for word in words.split():
        for name, path in paths.items():
            word = word.replace(name, str(path))
        called += command.words("x") if word == "FIT" else [word]
    assert command(*called) == 2
    error = capsys.readouterr().err
    assert error.startswith("lightning-colorize: ")
    assert error.count("\n") == 1
    assert CASES[words] in error
    assert contents(given, photo_folder, finished_run) == before
    assert not list(tmp_path.iterdir())
