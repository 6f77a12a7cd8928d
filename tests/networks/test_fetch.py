import socket
import time
from urllib.error import HTTPError

import pytest
import torch
from huggingface_hub import constants

from lightning_colorize.networks import TimmEncoder, WeightsError
from lightning_colorize.networks.encoders import fetch


@pytest.fixture
def silent_server(monkeypatch):
    """A server that accepts connections and never responds, as behind some firewalls."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "SECONDS", 0.2)
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
        fetch.fetch_torchvision(Published())
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_answers_detects_silent_servers(silent_server, monkeypatch):
    assert not fetch.answers(silent_server)
    assert not fetch.answers("http://no-such-host.invalid")

    def refuse(request, timeout):
        raise HTTPError(request.full_url, 404, "Not Found", None, None)

    monkeypatch.setattr(fetch, "urlopen", refuse)
    assert fetch.answers("http://some-host.invalid")


@pytest.mark.parametrize("answer", [True, False])
def test_hub_is_offline_where_its_server_is_silent(monkeypatch, answer):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetch, "answers", lambda url: answer)
    with fetch.bounded_hub():
        assert constants.HF_HUB_OFFLINE is not answer
    assert constants.HF_HUB_OFFLINE is False


def test_timm_without_network_is_one_line_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch, "answers", lambda url: False)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"weights: PATH.*pretrained: false") as caught:
        TimmEncoder("test_resnet", pretrained=True)
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)
