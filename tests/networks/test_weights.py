"""Files, downloads and absence of initial weights."""

import pickle

import pytest
import timm
import torch
from huggingface_hub import constants
from torchvision.models import resnet18

from lightning_colorize.common.class_paths import Trust, build
from lightning_colorize.models.checkpoint import prepare_for_state
from lightning_colorize.networks import (
    Encoder,
    ResNetEncoder,
    TimmEncoder,
    WeightsError,
)
from lightning_colorize.networks.encoders import torchvision_backbone, weights


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return resnet18(weights=None).state_dict()


@pytest.fixture
def load(tmp_path):
    def load(state, cls=ResNetEncoder, **arguments):
        torch.save(state, tmp_path / "w.pth")
        return cls(**arguments, weights=tmp_path / "w.pth")

    return load


def refusal(function, *arguments, **named):
    """Return the one line of a WeightsError."""
    with pytest.raises(WeightsError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_accepted_forms(state, load):
    expected = state["conv1.weight"].sum(1, keepdim=True)
    no_counter = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    no_classifier = {k: v for k, v in state.items() if not k.startswith("fc.")}
    for form in (state, {"state_dict": state, "epoch": 3}, no_counter, no_classifier):
        assert torch.equal(load(form).stages[0][0].weight, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Beyond the chosen depth, too.
        (lambda s: s.pop("layer4.1.conv1.weight"), 'Missing key(s) in state_dict: "layer4.1.conv1'),
        (lambda s: s.update(new=torch.zeros(1)), 'Unexpected key(s) in state_dict: "new"'),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), "mismatch for conv1"),
    ],
)
def test_mismatched_weights_are_named(state, load, change, message):
    other = dict(state)
    change(other)
    assert message in refusal(load, other)


def test_weights_of_another_timm_model_are_refused(load):
    other = timm.create_model("test_efficientnet").state_dict()
    assert "Missing key" in refusal(load, other, TimmEncoder, name="test_resnet")


def test_other_files_are_refused_and_not_executed(load, tmp_path, capsys):
    class Anything:
        def __reduce__(self):
            return (print, ("executed",))

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Anything(), protocol=2))
    assert "not a state dict" in refusal(ResNetEncoder, weights=tmp_path / "w.pth")
    assert "executed" not in capsys.readouterr().out
    assert "not a state dict" in refusal(load, {"epoch": 3})
    assert "not a state dict" in refusal(load, [torch.zeros(1)])
    assert "does not exist" in refusal(ResNetEncoder, weights=tmp_path / "nothing.pth")


# Downloads.


def test_failed_download_names_both_alternatives(monkeypatch):
    def offline(published):
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(torchvision_backbone, "fetch_torchvision", offline)
    message = refusal(ResNetEncoder, pretrained=True)
    for part in ("Name or service not known", "weights: PATH", "pretrained: false"):
        assert part in message


def test_timm_without_network_is_one_line_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "answers", lambda url: False)
    assert "weights: PATH" in refusal(TimmEncoder, "test_resnet", pretrained=True)


# For checkpoints.


def test_arguments_for_a_state_dict_need_no_files():
    inner = {"weights": "gone.pth", "frozen": True, "norm_eval": None}
    path = "lightning_colorize.networks."
    encoder = {"class_path": f"{path}ResNetEncoder", "init_args": inner}
    outer = {"class_path": f"{path}ConditionedEncoder", "init_args": {"encoder": encoder}}
    arguments = {"encoder": outer, "checkpoint": "gone.ckpt"}
    prepare_for_state(arguments, keep_start=True)
    assert arguments["checkpoint"] == "gone.ckpt"
    prepare_for_state(arguments)
    assert arguments["checkpoint"] is None
    built = build(outer, Encoder, Trust()).encoder
    assert built.norm_eval, "as with the weights"
    assert built.frozen
    built.load_state_dict(built.state_dict())
    assert built.weights_from == "checkpoint"
