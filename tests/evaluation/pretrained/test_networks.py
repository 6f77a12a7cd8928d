import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.models import alexnet, inception_v3

from lightning_colorize.evaluation.pretrained import PretrainedMetrics, find_metrics, networks

CPU = torch.device("cpu")


class _Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def _measure(inception, true, colored):
    metrics = PretrainedMetrics(find_metrics([f"fid={inception}", f"kid={inception}"]), CPU)
    for pair in zip(true, colored, strict=True):
        metrics.update(torch.stack(pair), pair[0])
    return metrics.compute(["truth", "system"], 0)


def _measure_by_torch_fidelity(inception, true, colored, **wanted):
    return pytest.importorskip("torch_fidelity").calculate_metrics(
        input1=_Images(true),
        input2=_Images(colored),
        cuda=False,
        kid=True,
        kid_subsets=1,
        kid_subset_size=len(true),
        feature_extractor_weights_path=str(inception),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **wanted,
    )


def test_kid_is_that_of_torch_fidelity(inception, pairs, monkeypatch):
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(extractor.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
    images = pairs(6)
    fid, kid = _measure(inception, *images)
    theirs = _measure_by_torch_fidelity(inception, *images)["kernel_inception_distance_mean"]
    assert kid.rows["system"].value == pytest.approx(theirs, rel=1e-4)
    assert kid.rows["truth"].infinite == pytest.approx(0, abs=1e-9)
    assert fid.rows["truth"].value == pytest.approx(0, abs=1e-6)
    assert fid.images == len(images[0])
    assert fid.sha256 == kid.sha256


@pytest.mark.slow
@pytest.mark.timeout(900)  # 100 images twice, and torch-fidelity's eigenvalues: 80 s of one core
def test_fid_and_kid_of_50_images_are_those_of_torch_fidelity(inception, pairs):
    images = pairs(50, side=64)
    fid, kid = _measure(inception, *images)
    theirs = _measure_by_torch_fidelity(inception, *images, fid=True)
    value = theirs["frechet_inception_distance"]
    assert value > 1  # or 0.01 would be nothing
    assert fid.rows["system"].value == pytest.approx(value, abs=0.01)
    assert kid.rows["system"].value == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-3
    )


def test_torchvision_inception_sees_images_scaled_as_by_ddcolor():
    torch.manual_seed(0)
    network = networks.TorchvisionInception(inception_v3(init_weights=False).state_dict()).eval()
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


def test_lpips_is_the_weighted_distance_of_normalized_features(pairs):
    torch.manual_seed(0)
    features = alexnet().features.eval()
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    network = networks.Lpips("alex", state)
    true, colored = (each[0] for each in pairs(1, side=70))
    with torch.no_grad():
        measured = network(torch.stack([colored, true]), true)

    layers = {name: weight for name, weight in network.net.state_dict().items() if "lin" in name}
    shift, scale = torch.tensor([-0.03, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.45])
    expected, x = 0, torch.stack([colored, true]).float() / 127.5 - 1
    x = (x - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
    tapped = 0
    with torch.no_grad():
        for module in features:
            x = module(x.clone())
            if isinstance(module, nn.ReLU):
                one, other = F.normalize(x, dim=1)
                weight = layers[f"lin{tapped}.model.1.weight"]
                expected += F.conv2d((one - other).square()[None], weight).mean()
                tapped += 1
    assert tapped == 5
    torch.testing.assert_close(measured[:, 0], torch.tensor([expected, 0.0]), atol=1e-6, rtol=1e-3)
    assert measured[0] > 1e-3


def test_timm_features_are_those_before_the_classifier():
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7).eval()
    network = networks.TimmFeatures("test_resnet", model.state_dict()).eval()
    rgb = torch.randint(256, (2, 3, 160, 160), dtype=torch.uint8)  # the model's own size
    given = model.pretrained_cfg
    mean, std = (torch.tensor(given[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_head(
            model.forward_features((rgb / 255 - mean) / std), pre_logits=True
        )
        torch.testing.assert_close(network(rgb, rgb[0]), expected)
        assert network(rgb[..., :50], rgb[0]).shape == expected.shape
