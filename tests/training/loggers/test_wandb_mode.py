import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from lightning_colorize.training.loggers import wandb_mode as module
from lightning_colorize.training.loggers.wandb_mode import WandbMode, wandb_mode

KEY = "0" * 40
ONLINE = WandbMode("online")


@pytest.fixture
def server():
    """The URL of a server that answers every request with an error."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


def log_in(file, url):
    """Write what `wandb login` stores."""
    host = url.partition("//")[2]
    file.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    file.chmod(0o600)


@pytest.mark.parametrize("netrc", [None, "machine"])
def test_every_mode_is_offline_without_credentials(server, logged_out, monkeypatch, netrc):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    if netrc:  # damaged
        (logged_out / ".netrc").write_text(netrc)
    for option in ("auto", "online"):
        assert wandb_mode(option).mode == "offline"
        assert "not logged in" in wandb_mode(option).reason


def test_silent_name_server_times_out(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(requests, "head", lambda url, timeout: time.sleep(2))
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    start = time.monotonic()
    assert wandb_mode("auto") == WandbMode("offline", "api.wandb.ai does not respond")
    assert time.monotonic() - start < 1.5


@pytest.mark.parametrize("location", ["home", "NETRC"])
def test_netrc_login(location, logged_out, server, monkeypatch, tmp_path):
    file = logged_out / ".netrc" if location == "home" else tmp_path / "elsewhere"
    log_in(file, server)
    if location == "NETRC":
        monkeypatch.setenv("NETRC", str(file))
    assert "not logged in" in wandb_mode("auto").reason
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode("auto") == ONLINE


@pytest.mark.parametrize("name", module._SERVERS)
def test_login_under_either_host_name(name, logged_out, monkeypatch):
    """W&B 0.31 stores the key under another host name than earlier releases."""
    log_in(logged_out / ".netrc", name)

    def head(url, timeout):
        if url != name:
            raise requests.exceptions.ConnectionError("no such host")

    monkeypatch.setattr(requests, "head", head)
    assert wandb_mode("auto") == ONLINE


@pytest.mark.parametrize(
    ("variable", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_auto_follows_wandb_mode(variable, mode, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert wandb_mode("auto") == WandbMode(mode)
    assert wandb_mode("online") == ONLINE
    assert wandb_mode("offline") == WandbMode("offline")
