import pytest
import torch
import torchvision
from torchvision.transforms.functional import normalize

from lightning_colorize.networks import ResNetEncoder, WeightsError, parameter_count


def trained(network):
    """Give batch norms statistics and shifts, as training would."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias, std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return trained(torchvision.models.resnet18(weights=None))


def torchvision_levels(network, L):
    """torchvision's own forward on the grey image as RGB, by its public layers."""
    x = normalize(((L + 1) / 2).repeat(1, 3, 1, 1), [0.449] * 3, [0.226] * 3)
    x = network.relu(network.bn1(network.conv1(x)))
    levels = [x]
    x = network.maxpool(x)
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        levels.append(x)
    return levels


@pytest.mark.parametrize("depth", [18, 34])
def test_first_six_children_give_28x28x128(depth):
    encoder = ResNetEncoder(depth=depth)
    features = encoder(torch.zeros(1, 1, 224, 224))
    assert [tuple(f.shape[1:]) for f in features] == [(64, 112, 112), (64, 56, 56), (128, 28, 28)]
    assert encoder.info == ((64, 64, 128), (2, 4, 8))


def test_normalization_0_1_feeds_L_as_it_is():
    L = torch.rand(1, 1, 32, 32) * 2 - 1
    encoder = ResNetEncoder(normalization="0..1").eval()
    torch.testing.assert_close(encoder(L)[0], encoder.stages[0]((L + 1) / 2))


def test_weights_file_gives_torchvisions_features(reference, tmp_path):
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    encoder = ResNetEncoder(18, levels=5, weights=tmp_path / "resnet18.pth").eval()
    L = torch.rand(2, 1, 96, 65) * 2 - 1
    with torch.no_grad():
        for ours, theirs in zip(encoder(L), torchvision_levels(reference, L), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert encoder.weights_from == f"file {tmp_path / 'resnet18.pth'}"


def test_pretrained_loads_the_weights_of_torchvision(reference, monkeypatch):
    def publish(self, *args, **kwargs):
        assert str(self) == "ResNet18_Weights.IMAGENET1K_V1"
        return reference.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", publish)
    encoder = ResNetEncoder(18, pretrained=True)
    assert encoder.weights_from == "torchvision ResNet18_Weights.IMAGENET1K_V1"
    torch.testing.assert_close(
        encoder.stages[0][0].weight, reference.conv1.weight.sum(1, keepdim=True)
    )


def test_frozen_encoder_does_not_change(reference, tmp_path):
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    encoder = ResNetEncoder(weights=tmp_path / "w.pth", frozen=True, norm_eval=False)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    L = torch.rand(4, 1, 32, 32, requires_grad=True)
    for _ in range(2):
        encoder.train()
        encoder(L)[-1].sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert L.grad.abs().sum() > 0
    assert parameter_count(encoder) == (0, 676_800)


@pytest.mark.parametrize(("norm_eval", "changes"), [(None, False), (True, False), (False, True)])
def test_norm_eval_keeps_statistics_while_weights_train(reference, tmp_path, norm_eval, changes):
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    encoder = ResNetEncoder(weights=tmp_path / "w.pth", norm_eval=norm_eval)
    before = encoder.stages[0][1].running_mean.clone()
    encoder(torch.rand(4, 1, 32, 32))[-1].sum().backward()  # Lightning does not call train() first
    encoder.train()
    encoder(torch.rand(4, 1, 32, 32))
    assert (not torch.equal(before, encoder.stages[0][1].running_mean)) == changes
    assert all(p.grad is not None for p in encoder.parameters())


def test_random_weights_train_their_statistics():
    encoder = ResNetEncoder()
    encoder(torch.rand(4, 1, 32, 32))
    assert encoder.weights_from == "random"
    assert encoder.stages[0][1].running_mean.abs().sum() > 0


def test_frozen_without_weights_is_refused():
    with pytest.raises(WeightsError, match=r"pretrained: true or weights: PATH"):
        ResNetEncoder(frozen=True)


@pytest.mark.parametrize("levels", [0, 6])
def test_levels_out_of_range(levels):
    with pytest.raises(ValueError, match=f"levels is {levels}; ResNetEncoder has 1 to 5"):
        ResNetEncoder(levels=levels)
