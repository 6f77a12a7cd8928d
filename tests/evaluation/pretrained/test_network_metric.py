import json

import pytest
import torch

from lightning_colorize.color import to_lab, to_rgb_in_gamut
from lightning_colorize.evaluation.pretrained import NetworkMetric, PretrainedMetrics, find_metrics
from lightning_colorize.metrics import colorization_metrics
from lightning_colorize.networks import skip_weights
from lightning_colorize.runs.result import RunResult

timm = pytest.importorskip("timm")


@pytest.fixture
def files(tmp_path):
    """Files of random weights: of a small timm model, and of AlexNet's convolutions."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pt")
    state = {f"features.{key}": value for key, value in alexnet().features.state_dict().items()}
    torch.save(state, tmp_path / "alexnet.pt")
    return {"frechet:test_resnet": tmp_path / "resnet.pt", "lpips_alex": tmp_path / "alexnet.pt"}


@pytest.mark.parametrize("name", ["frechet:test_resnet", "lpips_alex"])
def test_values_are_those_of_the_protocol(files, pairs, name):
    true, other = pairs(5, 64)
    (L, ab), (_, ab_hat) = to_lab(true), to_lab(other)
    colored = (to_rgb_in_gamut(L, ab_hat) * 255).round().byte()
    protocol = PretrainedMetrics(find_metrics([f"{name}={files[name]}"]), torch.device("cpu"))
    for one, another in zip(colored, true, strict=True):
        protocol.update(torch.stack([one, another]), another)
    (expected,) = protocol.compute(["model", "truth"], 1)

    metric = NetworkMetric(name, str(files[name]))
    assert not metric.higher_is_better
    metrics = colorization_metrics("val/", {"own": metric})
    for batch in (slice(0, 3), slice(3, 5)):
        metrics.update(L[batch], ab_hat[batch], ab[batch])
    measured = metrics.compute()["val/own"].item()
    assert measured == pytest.approx(expected.rows["model"].value, rel=1e-4)
    assert measured > 1e-6
    assert not [*metric.parameters(), *metrics.state_dict()]


def test_checkpoint_is_usable_without_the_file():
    with skip_weights():
        metric = NetworkMetric("lpips_alex", "gone.pt")
    images = torch.zeros(2, 1, 64, 64), torch.zeros(2, 2, 64, 64), torch.zeros(2, 2, 64, 64)
    with pytest.warns(UserWarning, match=r"lpips_alex is nan: gone.pt does not exist"):
        metric.update(*images)
    assert metric.compute().isnan()


def test_run_with_a_pretrained_metric(command, files, tmp_path, capsys):
    def option(file):
        arguments = {"name": "frechet:test_resnet", "weights": str(file)}
        path = "lightning_colorize.evaluation.pretrained.NetworkMetric"
        own = {"fd": {"class_path": path, "init_args": arguments}}
        return ("--model.metrics", json.dumps(own), "--run.monitor", "val/fd")

    assert command("fit", *command.words("none", *option(tmp_path / "gone.pt"))) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "gone.pt: the file does not exist" in err

    file = files["frechet:test_resnet"]
    run = command.fit("a", *option(file), "--trainer.max_epochs", 1)
    result = RunResult.read(run)
    assert result.best_metric == result.metrics["val/fd"] > 0
    assert result.baselines["grey"]["test/fd"] > 0
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert not [name for name in checkpoint["state_dict"] if "metrics" in name]

    words = ("evaluate", run, "--data", command.photos, "--json", tmp_path / "numbers.json")
    assert command(*words) == 0
    (row,) = (json.loads((tmp_path / "numbers.json").read_text())["metrics"]["model"]["fd"],)
    assert row == pytest.approx(result.metrics["test/fd"], rel=1e-3)
