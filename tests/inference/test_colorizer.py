import pickle
import shutil
import zipfile

import pytest
import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import load_model

_PARTS = ("encoder", "loss")


@pytest.fixture
def altered(finished_run, tmp_path):
    """Return a function that writes a changed copy of the run's checkpoint."""

    def alter(change):
        checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
        change(checkpoint)
        path = tmp_path / "altered.ckpt"
        torch.save(checkpoint, path)
        return path

    return alter


def test_half_precision_is_of_prediction_only(finished_run):
    model = load_model(finished_run)
    L = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100
    full = model.predict(L)
    model.set_precision("bf16-mixed")
    half = model.predict(L)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.05 * full.abs().mean()
    model.set_precision("32-true")
    assert torch.equal(model.predict(L), full)
    with pytest.raises(UsageError, match="precision must be 32-true, bf16-mixed, 16-mixed, not 8"):
        model.set_precision("8")


@pytest.mark.usefixtures("permissions")
def test_a_checkpoint_without_permission_is_not_damaged(finished_run, tmp_path):
    file = tmp_path / "best.ckpt"
    shutil.copy(finished_run / "checkpoints/best.ckpt", file)
    file.chmod(0)
    with pytest.raises(UsageError, match=f"^{file} cannot be read: Permission denied$"):
        load_model(file)
    folder = tmp_path / "run"
    folder.mkdir(mode=0)
    with pytest.raises(UsageError, match=f"^{folder} cannot be read: Permission denied$"):
        load_model(folder)
    folder.chmod(0o700)


def test_a_tensor_is_not_a_checkpoint(tmp_path):
    torch.save(torch.ones(2), tmp_path / "a.ckpt")
    with pytest.raises(UsageError, match="is not a checkpoint of"):
        load_model(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("hyper_parameters"), "is not a checkpoint of"),
        (lambda c: c.pop("datamodule_hyper_parameters"), "is not a checkpoint of"),
        (
            lambda c: c["hyper_parameters"].update(_class_path="torch.nn.Identity"),
            "torch.nn.Identity is not a TrainedNetwork",
        ),
        (
            lambda c: c["datamodule_hyper_parameters"].update(size="abc"),
            "its image size is 'abc', not 1 to 16384",
        ),
        (
            lambda c: c["hyper_parameters"].update(
                encoder={"class_path": "lightning_colorize.losses.L1"}
            ),
            "does not fit this version.*'L1' object has no attribute 'info'",
        ),
        (lambda c: c["hyper_parameters"].update(gone=1), "does not fit this version.*gone"),
        (
            lambda c: c["hyper_parameters"]["loss"].update(class_path="os.system"),
            r"altered\.ckpt: not a trusted .* refused: os\.system; .*--allow-class os\.system",
        ),
        (
            lambda c: [c["hyper_parameters"][n].update(class_path=f"own.{n}") for n in _PARTS],
            "--allow-class own.encoder --allow-class own.loss, or load the checkpoint from its run",
        ),
        (
            lambda c: c["hyper_parameters"]["loss"].update(
                class_path="lightning_colorize.losses.Gone"
            ),
            "does not fit this version.*losses.Gone",
        ),
        (
            lambda c: c["state_dict"]["net.head.conv.bias"].fill_(torch.nan),
            r"weights that are not finite \(net\.head\.conv\.bias\)",
        ),
        (lambda c: c["state_dict"].popitem(), "does not fit this version.*Missing key"),
        (lambda c: c["state_dict"].update(more=torch.ones(1)), "Unexpected key"),
    ],
)
def test_mismatched_checkpoint_is_refused_in_one_line(altered, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_model(altered(change))
    assert "\n" not in str(caught.value)


def test_checkpoint_without_baselines(altered):
    assert load_model(altered(lambda c: c["callbacks"].pop("BaselineMetrics"))).baselines is None


class _Unsafe:
    def __reduce__(self):
        return print, ("executed",)


def test_files_that_are_no_checkpoint(finished_run, tmp_path, capsys):
    whole = (finished_run / "checkpoints/best.ckpt").read_bytes()
    files = {
        "empty.ckpt": b"",
        "text.ckpt": b"epoch: 3\n",
        "short.ckpt": whole[: len(whole) // 2],
        "pickle.ckpt": pickle.dumps({"state_dict": {}}),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{name} is .*not a checkpoint"):
            load_model(tmp_path / name)
    torch.save({"state_dict": _Unsafe()}, tmp_path / "unsafe.ckpt")
    with pytest.raises(UsageError, match="not loaded for safety"):
        load_model(tmp_path / "unsafe.ckpt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("digest", [True, False])
def test_a_flipped_bit_is_found(finished_run, altered, tmp_path, digest):
    path = tmp_path / "flipped.ckpt"
    source = finished_run / "checkpoints/best.ckpt" if digest else altered(lambda _: None)
    damaged = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        record = max(map(archive.read, archive.namelist()), key=len)
    damaged[damaged.index(record) + len(record) // 2] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"flipped\.ckpt is damaged: it has changed"):
        load_model(path)
