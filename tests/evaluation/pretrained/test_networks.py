import pytest
import torch
from torch.utils.data import Dataset
from torchmetrics.image import LearnedPerceptualImagePatchSimilarity
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


def test_kid_is_that_of_torch_fidelity(inception, pairs, monkeypatch):
    fidelity = pytest.importorskip("torch_fidelity")
    extractor = fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3
    monkeypatch.setattr(extractor, "INPUT_IMAGE_SIZE", 75)
    true, colored = pairs(6)
    metrics = PretrainedMetrics(find_metrics([f"fid={inception}", f"kid={inception}"]), CPU)
    for pair in zip(true, colored, strict=True):
        metrics.update(torch.stack(pair), pair[0])
    fid, kid = metrics.compute(["truth", "system"], 0)
    theirs = fidelity.calculate_metrics(
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
    )
    expected = theirs["kernel_inception_distance_mean"]
    assert kid.rows["system"].value == pytest.approx(expected, rel=1e-4)
    assert kid.rows["truth"].infinite == pytest.approx(0, abs=1e-9)
    assert fid.rows["truth"].value == pytest.approx(0, abs=1e-6)
    assert fid.images == len(true)
    assert fid.sha256 == kid.sha256


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


def test_lpips_is_that_of_torchmetrics_with_its_backbone(pairs, monkeypatch):
    torch.manual_seed(0)
    backbone = alexnet()
    true, colored = (each[0] for each in pairs(1, side=70))
    with torch.no_grad():
        network = networks.Lpips("alex", backbone.state_dict())
        measured = network(torch.stack([colored, true]), true)
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: backbone)  # no download
    public = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    expected = public(colored[None] / 255, true[None] / 255)
    torch.testing.assert_close(measured[:, 0], torch.tensor([expected, 0.0]))
    assert expected > 1e-3


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
