"""Metrics of pretrained networks, with random weights: no published ones are at hand."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image import LearnedPerceptualImagePatchSimilarity
from torchvision.models import alexnet, inception_v3

from lightning_colorize.color import to_lab, to_rgb_in_gamut
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation import pretrained
from lightning_colorize.evaluation.pretrained import METRICS, NetworkMetric, PretrainedMetrics
from lightning_colorize.evaluation.pretrained_networks import (
    lpips,
    timm_features,
    torchvision_inception,
)
from lightning_colorize.metrics import colorization_metrics
from lightning_colorize.runs.result import RunResult

CPU = torch.device("cpu")


def _images(count, side=40):
    """True images and colored ones: (N, 3, side, side) in uint8."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, count, 3, 4, 4, generator=random)
    true, other = (nn.functional.interpolate(each, size=(side, side)) for each in coarse)
    return (true * 255).byte(), ((0.6 * true + 0.4 * other) * 200).byte()


@pytest.fixture(scope="module")
def backbone():
    """AlexNet with random weights."""
    torch.manual_seed(0)
    return alexnet()


@pytest.fixture(scope="module")
def files(backbone, tmp_path_factory):
    """Files of random weights: of a small timm model, and of AlexNet's convolutions."""
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "resnet.pt")
    state = {f"features.{key}": value for key, value in backbone.features.state_dict().items()}
    torch.save(state, folder / "alexnet.pt")
    return {"frechet:test_resnet": folder / "resnet.pt", "lpips_alex": folder / "alexnet.pt"}


def _measure(words, true, colored):
    metrics = PretrainedMetrics(words, CPU)
    for one, other in zip(true, colored, strict=True):
        metrics.update(torch.stack([other, one]), one)
    return metrics.compute(["system", "truth"], 1)


def _features(count, size):
    """Features of the truth and of images made from it."""
    random = torch.Generator().manual_seed(1)
    mix = torch.randn(size, size, generator=random) / size**0.5
    true = torch.randn(count, size, generator=random) @ mix
    return true, true + 0.3 + 0.5 * torch.randn(count, size, generator=random)


def _distances(true, other):
    """Return fid, kid and mifid."""
    by_name = {metric.name: metric for metric in METRICS}
    return [float(by_name[name].distance(other, true)) for name in ("fid", "kid", "mifid")]


@pytest.mark.parametrize(("count", "size"), [(300, 16), (20, 48)])
def test_distances_of_sets_are_those_of_the_formulas_and_of_torch_fidelity(count, size):
    true, other = _features(count, size)
    fid, kid, mifid = _distances(true, other)
    x, y = true.double().numpy(), other.double().numpy()
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    naive = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert fid == pytest.approx(naive, rel=1e-4)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y)]
    nearest = 1 - np.abs(unit[0] @ unit[1].T).max(axis=1).mean()
    assert mifid == pytest.approx(fid / nearest if nearest < 0.1 else fid, rel=1e-4)
    assert _distances(true, true)[::2] == [0, 0]
    assert _distances(true, true)[1] < 0  # an image is compared with itself
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    theirs = fidelity.kid_features_to_metric(
        true.double(), other.double(), kid_subset_size=count, kid_subsets=1
    )
    assert kid == pytest.approx(theirs[fidelity.KEY_METRIC_KID_MEAN], abs=1e-6)


def test_subsets_of_many_images_are_repeatable(monkeypatch):
    monkeypatch.setattr(pretrained, "_SUBSET_SIZE", 20)
    true, other = _features(60, 24)
    state = torch.get_rng_state()
    first, again = (_distances(true, other)[1] for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)


def test_fid_and_kid_are_of_torch_fidelitys_network(tmp_path, monkeypatch):
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with monkeypatch.context() as patch:
        patch.setattr(extractor, "load_state_dict_from_url", lambda url, **options: {})
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = extractor.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # torch's own would make features of 1e-10
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(extractor.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
    true, colored = _images(4)
    fid, kid = _measure([f"fid={file}", f"kid={file}"], true, colored)
    with torch.no_grad():
        features = [torch.cat([network(i[None])[0] for i in each]) for each in (true, colored)]
    expected = _distances(*features)
    assert [each.rows["system"].value for each in (fid, kid)] == pytest.approx(expected[:2])
    assert fid.rows["truth"].value == 0
    assert fid.images == len(true)
    assert fid.sha256 == kid.sha256 == sha256_of(file)


def test_torchvision_inception_sees_images_scaled_as_by_ddcolor():
    torch.manual_seed(0)
    network = torchvision_inception(inception_v3(init_weights=False).state_dict()).eval()
    seen = []
    network.net.Conv2d_1a_3x3.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    rgb = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 20, 30)
    with torch.no_grad():
        assert network(rgb, rgb[0]).shape == (2, 2048)
    assert seen[0].shape == (2, 3, 299, 299)
    # 0 and 1 to 0.5 and 1, times std / 0.5, plus (mean - 0.5) / 0.5
    expected = [[0.199, 0.136, 0.037], [0.428, 0.36, 0.262]]
    torch.testing.assert_close(seen[0].mean((2, 3)), torch.tensor(expected), atol=1e-5, rtol=0)


def test_lpips_is_that_of_torchmetrics_with_its_backbone(backbone, monkeypatch):
    true, colored = (each[0] for each in _images(1, side=70))
    with torch.no_grad():
        measured = lpips("alex", backbone.state_dict())(torch.stack([colored, true]), true)
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: backbone)  # no download
    public = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    expected = public(colored[None] / 255, true[None] / 255)
    torch.testing.assert_close(measured[:, 0], torch.tensor([expected, 0.0]))
    assert expected > 1e-3


def test_timm_features_are_those_before_the_classifier():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7).eval()
    network = timm_features("test_resnet", model.state_dict()).eval()
    rgb = torch.randint(256, (2, 3, 160, 160), dtype=torch.uint8)  # the model's own size
    given = model.pretrained_cfg
    mean, std = (torch.tensor(given[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_head(
            model.forward_features((rgb / 255 - mean) / std), pre_logits=True
        )
        torch.testing.assert_close(network(rgb, rgb[0]), expected)
        assert network(rgb[..., :50], rgb[0]).shape == expected.shape


def test_means_over_images_have_intervals():
    by_name = {metric.name: metric for metric in METRICS}
    system, _ = by_name["lpips_alex"].values(torch.arange(8.0).view(2, 4, 1), 1)
    assert system.value == 1.5
    assert 0 <= system.low < 1.5 < system.high <= 3
    features = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[2.0, 0.0], [4.0, 3.0]]])
    system, truth = by_name["clip_score"].values(features, 1)
    assert truth.value == pytest.approx(100)
    assert system.value == pytest.approx(98)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("fd", "unknown metric; choose from fid, kid"),
        ("fid=gone.pth", "gone.pth"),
        ("frechet:test_resnet", "add =WEIGHTS"),
        ("frechet:test_resne=x", r"timm has no model 'test_resne'; nearest: test_resnet"),
        ("lpips_alex={resnet}", "is missing"),
        ("frechet:test_vit={resnet}", "(?i)missing"),
        ("lpips_alex={evil}", "is not a state dict"),
        ("kid", "No route to host"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line(files, word, message, tmp_path, monkeypatch):
    class Touch:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    def download(url, **options):
        raise OSError(113, "No route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    torch.save({"a": Touch()}, tmp_path / "evil.pth")
    word = word.format(resnet=files["frechet:test_resnet"], evil=tmp_path / "evil.pth")
    with pytest.raises(UsageError, match=message) as caught:
        PretrainedMetrics([word], CPU)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_published_weights_are_taken_from_the_cache(files, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    cached = tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth"
    cached.symlink_to(files["lpips_alex"])
    (result,) = _measure(["lpips_alex"], *_images(2, side=64))
    assert result.sha256 == sha256_of(cached)
    with pytest.raises(UsageError, match="of 16x16 pixels"):  # too small for AlexNet
        _measure(["lpips_alex"], *_images(3, side=16))


@pytest.mark.parametrize("name", ["frechet:test_resnet", "lpips_alex"])
def test_values_during_training_are_those_of_the_protocol(files, name):
    true, other = _images(5, 64)
    (L, ab), (_, ab_hat) = to_lab(true), to_lab(other)
    colored = (to_rgb_in_gamut(L, ab_hat) * 255).round().byte()
    (expected,) = _measure([f"{name}={files[name]}"], true, colored)

    metric = NetworkMetric(name, str(files[name]))
    assert not metric.higher_is_better
    metrics = colorization_metrics("val/", {"own": metric})
    for batch in (slice(0, 3), slice(3, 5)):
        metrics.update(L[batch], ab_hat[batch], ab[batch])
    measured = metrics.compute()["val/own"].item()
    assert measured == pytest.approx(expected.rows["system"].value, rel=1e-4)
    assert measured > 1e-6
    assert not [*metric.parameters(), *metrics.state_dict()]


def test_checkpoint_is_usable_without_the_file():
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
    assert "gone.pt" in err

    file = files["frechet:test_resnet"]
    run = command.fit("a", *option(file), "--trainer.max_epochs", 1)
    result = RunResult.read(run)
    assert result.best_metric == result.metrics["val/fd"] > 0
    assert result.baselines["grey"]["test/fd"] > 0
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert not [name for name in checkpoint["state_dict"] if "metrics" in name]

    words = ("evaluate", run, "--data", command.photos, "--json", tmp_path / "numbers.json")
    assert command(*words) == 0
    row = json.loads((tmp_path / "numbers.json").read_text())["metrics"]["model"]["fd"]
    assert row == pytest.approx(result.metrics["test/fd"], rel=1e-3)
