import pickle

import pytest
import torch
import torchvision

from lightning_colorize.networks import (
    MobileNetV2Encoder,
    ResNetEncoder,
    TimmEncoder,
    VGG16Encoder,
    WeightsError,
    skip_weights,
)
from lightning_colorize.networks.encoders import pretrained


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


def load(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    return ResNetEncoder(weights=tmp_path / "w.pth")


def refusal(state, tmp_path):
    with pytest.raises(WeightsError) as caught:
        load(state, tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_accepted_forms(state, tmp_path):
    expected = state["conv1.weight"].sum(1, keepdim=True)
    no_counter = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    no_classifier = {k: v for k, v in state.items() if not k.startswith("fc.")}
    for form in (state, {"state_dict": state, "epoch": 3}, no_counter, no_classifier):
        assert torch.equal(load(form, tmp_path).stages[0][0].weight, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Beyond the chosen depth, too.
        (lambda s: s.pop("layer4.1.conv1.weight"), 'Missing key(s) in state_dict: "layer4.1.conv1'),
        (lambda s: s.update(new=torch.zeros(1)), 'Unexpected key(s) in state_dict: "new"'),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), "mismatch for conv1"),
    ],
)
def test_mismatched_weights_are_named(state, tmp_path, change, message):
    other = dict(state)
    change(other)
    assert message in refusal(other, tmp_path)


def test_other_files_are_refused_and_not_executed(tmp_path, capsys):
    class Anything:
        def __reduce__(self):
            return (print, ("executed",))

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Anything(), protocol=2))
    with pytest.raises(WeightsError, match="is not a state dict"):
        ResNetEncoder(weights=tmp_path / "w.pth")
    assert "executed" not in capsys.readouterr().out
    assert "is not a state dict" in refusal({"epoch": 3}, tmp_path)
    assert "is not a state dict" in refusal([torch.zeros(1)], tmp_path)
    with pytest.raises(WeightsError, match=r"no file .*nothing\.pth.*pretrained: false"):
        ResNetEncoder(weights=tmp_path / "nothing.pth")


def test_failed_download_names_both_alternatives(monkeypatch):
    def offline(published):
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(pretrained, "fetch_torchvision", offline)
    with pytest.raises(WeightsError, match="Name or service not known") as caught:
        ResNetEncoder(pretrained=True)
    assert "weights: PATH" in str(caught.value)
    assert "pretrained: false" in str(caught.value)


def test_file_takes_precedence_over_a_download(state, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "fetch_torchvision", lambda published: pytest.fail("fetched"))
    torch.save(state, tmp_path / "w.pth")
    encoder = ResNetEncoder(pretrained=True, weights=tmp_path / "w.pth")
    assert encoder.weights_from.startswith("file")


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (ResNetEncoder, {}),
        (VGG16Encoder, {}),
        (MobileNetV2Encoder, {}),
        (TimmEncoder, {"name": "test_resnet"}),
    ],
)
def test_skip_weights_loads_no_weights(cls, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket", lambda *a, **k: pytest.fail("went to the network"))
    with skip_weights():
        encoders = [
            cls(**arguments, pretrained=True, frozen=True),
            cls(**arguments, weights=tmp_path / "gone.pth", frozen=True),
            cls(**arguments, frozen=True),
        ]
    for encoder in encoders:
        assert encoder.weights_from == "checkpoint"
        assert not any(p.requires_grad for p in encoder.parameters())
        assert not any(module.training for module in encoder.modules())


def test_skip_weights_keeps_the_training_mode(state, tmp_path):
    with_file = load(state, tmp_path)
    with skip_weights():
        rebuilt = ResNetEncoder(weights=tmp_path / "gone.pth")
    assert [m.training for m in rebuilt.modules()] == [m.training for m in with_file.modules()]
    assert rebuilt.norm_eval
