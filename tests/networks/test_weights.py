"""Files, downloads and absence of initial weights."""

import pickle
import socket
import time
from urllib.error import HTTPError

import pytest
import timm
import torch
from huggingface_hub import constants
from torchvision.models import resnet18

from lightning_colorize.networks import (
    MobileNetV2Encoder,
    ResNetEncoder,
    TimmEncoder,
    VGG16Encoder,
    WeightsError,
    skip_weights,
)
from lightning_colorize.networks.encoders import pretrained, weights


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
    """Return the one line of a WeightsError, which comes within seconds."""
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        function(*arguments, **named)
    assert time.monotonic() - start < 5
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


def test_file_takes_precedence_over_a_download(state, load, monkeypatch):
    monkeypatch.setattr(pretrained, "fetch_torchvision", lambda published: pytest.fail("fetched"))
    assert load(state, pretrained=True).weights_from.startswith("file")


# Downloads.


def test_failed_download_names_both_alternatives(monkeypatch):
    def offline(published):
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(pretrained, "fetch_torchvision", offline)
    message = refusal(ResNetEncoder, pretrained=True)
    for part in ("Name or service not known", "weights: PATH", "pretrained: false"):
        assert part in message


@pytest.fixture
def silent_server(monkeypatch):
    """A server that accepts connections and never responds, as behind some firewalls."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(weights, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_torchvision_download_from_a_silent_server_times_out(silent_server, tmp_path):
    class Published:
        def get_state_dict(self, progress, check_hash):
            url = f"{silent_server}/resnet18-f37072fd.pth"
            return torch.hub.load_state_dict_from_url(
                url, tmp_path, progress=progress, check_hash=check_hash
            )

    start = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        weights.fetch_torchvision(Published())
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_answers_detects_silent_servers(silent_server, monkeypatch):
    assert not weights.answers(silent_server)
    assert not weights.answers("http://no-such-host.invalid")

    def refuse(request, timeout):
        raise HTTPError(request.full_url, 404, "Not Found", None, None)

    monkeypatch.setattr(weights, "urlopen", refuse)
    assert weights.answers("http://some-host.invalid")


@pytest.mark.parametrize("answer", [True, False])
def test_hub_is_offline_where_its_server_is_silent(monkeypatch, answer):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights, "answers", lambda url: answer)
    with weights.bounded_hub():
        assert constants.HF_HUB_OFFLINE is not answer
        assert socket.getdefaulttimeout() == weights.SECONDS
    assert constants.HF_HUB_OFFLINE is False
    assert socket.getdefaulttimeout() is None


def test_timm_without_network_is_one_line_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "answers", lambda url: False)
    assert "weights: PATH" in refusal(TimmEncoder, "test_resnet", pretrained=True)


# For checkpoints.


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


def test_skip_weights_keeps_the_training_mode(state, load, tmp_path):
    with_file = load(state)
    with skip_weights():
        rebuilt = ResNetEncoder(weights=tmp_path / "gone.pth")
    assert [m.training for m in rebuilt.modules()] == [m.training for m in with_file.modules()]
    assert rebuilt.norm_eval
