import json
import pickle
import shutil

import pytest
import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import choose_device, load_task
from lightning_colorize.metrics import BASELINES, colorization_metrics
from lightning_colorize.tasks import ColorizationTask


@pytest.fixture
def altered(finished_run, tmp_path):
    """Writes the run's checkpoint with some of it changed."""

    def alter(change):
        checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
        change(checkpoint)
        path = tmp_path / "altered.ckpt"
        torch.save(checkpoint, path)
        return path

    return alter


def test_a_run_reloads_and_measures_as_it_did_at_the_end_of_training(finished_run, photo_folder):
    loaded = load_task(finished_run)
    assert isinstance(loaded.task, ColorizationTask)
    assert not any(module.training for module in loaded.task.modules())
    assert loaded.size == 32
    assert loaded.data_root == str(photo_folder)
    assert loaded.path == finished_run / "checkpoints/best.ckpt"

    result = json.loads((finished_run / "result.json").read_text())
    data = ColorizationDataModule(str(photo_folder), size=32, batch_size=2, num_workers=0)
    data.setup("test")
    rows = {name: colorization_metrics("test/") for name in ("model", *BASELINES)}
    with torch.inference_mode():
        for batch in data.color_batches("test"):
            rows["model"].update(batch.L, loaded.task(batch.L), batch.ab)
            for name in BASELINES:
                rows[name].update(batch.L, loaded.baselines.predict(name, batch.L), batch.ab)
    expected = {"model": result["metrics"], **result["baselines"]}
    for name, metrics in rows.items():
        values = metrics.compute()
        assert len(values) == 7
        for metric, value in values.items():
            assert float(value) == pytest.approx(expected[name][metric], rel=1e-4, abs=1e-5)


def test_a_file_is_a_checkpoint_too(finished_run):
    last = load_task(finished_run / "checkpoints/last.ckpt")
    assert last.path.name == "last.ckpt"


def test_weights_that_training_started_from_may_be_gone(command, tmp_path):
    from torchvision.models import mobilenet_v2

    weights = tmp_path / "mobilenet.pth"
    torch.save(mobilenet_v2().state_dict(), weights)
    encoder = "lightning_colorize.networks.MobileNetV2Encoder"
    run = command.fit("pretrained", "--model.encoder", encoder, "--model.encoder.weights", weights,
                      "--trainer.max_epochs", 1, "--run.test", "false")  # fmt: skip
    weights.unlink()
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    loaded = load_task(run).task.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_class_from_elsewhere_is_refused_in_one_line(altered):
    path = altered(lambda c: c["hyper_parameters"]["loss"].update(class_path="os.system"))
    with pytest.raises(UsageError, match=r"os\.system") as caught:
        load_task(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("hyper_parameters"), "is not a checkpoint written by"),
        (lambda c: c.pop("datamodule_hyper_parameters"), "is not a checkpoint written by"),
        (lambda c: c["hyper_parameters"].pop("_class_path"), "is not a checkpoint written by"),
        (lambda c: c.update(hyper_parameters=None), "is not a checkpoint written by"),
        (
            lambda c: c["hyper_parameters"].update(_class_path="torch.nn.Identity"),
            "it holds a torch.nn.Identity",
        ),
        (lambda c: c["hyper_parameters"].update(gone=1), "does not fit this version.*gone"),
        (
            lambda c: c["hyper_parameters"]["loss"].update(
                class_path="lightning_colorize.losses.Gone"
            ),
            "does not fit this version.*losses.Gone",
        ),
        (lambda c: c["state_dict"].popitem(), "does not fit this version.*Missing key"),
        (lambda c: c["state_dict"].update(more=torch.ones(1)), "Unexpected key"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(altered, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_task(altered(change))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_from_before_the_baselines_has_none(altered):
    assert load_task(altered(lambda c: c["callbacks"].pop("BaselineMetrics"))).baselines is None


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
        with pytest.raises(UsageError, match=f"{name} is .*not a checkpoint") as caught:
            load_task(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(UsageError, match=r"list\.ckpt is not a checkpoint"):
        load_task(tmp_path / "list.ckpt")
    torch.save({"state_dict": _Unsafe()}, tmp_path / "unsafe.ckpt")
    with pytest.raises(UsageError, match="not loaded for safety"):
        load_task(tmp_path / "unsafe.ckpt")
    assert capsys.readouterr().out == ""


def test_missing(finished_run, tmp_path):
    with pytest.raises(UsageError, match="nowhere does not exist"):
        load_task(tmp_path / "nowhere")
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))
    with pytest.raises(UsageError, match="holds neither"):
        load_task(tmp_path / "run")


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cpu").type == "cpu"
