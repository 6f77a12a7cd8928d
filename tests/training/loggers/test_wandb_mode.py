import socket
import time

import pytest

from lightning_colorize.training.loggers import wandb_mode as module
from lightning_colorize.training.loggers.wandb_mode import WandbMode, wandb_mode


@pytest.fixture
def server():
    """The URL of a listening socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed():
    """The URL of a closed port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_every_mode_is_offline_without_credentials(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    for option in ("auto", "online"):
        mode, reason = wandb_mode(option)
        assert mode == "offline"
        assert "not logged in" in reason


def test_silent_name_server_times_out(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    def create_connection(*_, **__):
        time.sleep(2)
        raise OSError("at last")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    start = time.monotonic()
    assert wandb_mode("auto").mode == "offline"
    assert time.monotonic() - start < 1.5
    assert "api.wandb.ai" in wandb_mode("auto").reason


def test_proxy_is_checked_instead_of_the_server(server, closed, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://nobody.invalid")
    monkeypatch.setenv("https_proxy", closed)
    assert wandb_mode("auto").mode == "offline"
    monkeypatch.setenv("https_proxy", server)
    assert wandb_mode("auto").mode == "online"


@pytest.mark.parametrize("location", ["home", "NETRC"])
def test_netrc_login(location, logged_out, server, monkeypatch, tmp_path):
    host = server.removeprefix("http://")
    file = logged_out / ".netrc" if location == "home" else tmp_path / "elsewhere"
    file.write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    file.chmod(0o600)
    if location == "NETRC":
        monkeypatch.setenv("NETRC", str(file))
    assert "not logged in" in wandb_mode("auto").reason
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode("auto") == WandbMode("online")


@pytest.mark.parametrize("name", module._SERVERS)
def test_login_under_either_host_name(name, logged_out, monkeypatch):
    """W&B 0.31 stores the key under another host name than earlier releases."""
    host = name.removeprefix("https://")
    (logged_out / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    (logged_out / ".netrc").chmod(0o600)
    tried = []

    def create_connection(address, timeout):
        tried.append(address)
        if address != (host, 443):
            raise OSError("no such host")
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", create_connection)
    assert wandb_mode("auto") == WandbMode("online")
    assert (host, 443) in tried


def test_default_servers_of_wandb():
    urls = pytest.importorskip("wandb.sdk.lib.urls", reason="not in older W&B")
    assert urls.DEFAULT_BASE_URL in module._SERVERS


def test_broken_netrc_is_no_login(logged_out):
    (logged_out / ".netrc").write_text("machine")
    assert "not logged in" in wandb_mode("auto").reason


def test_self_hosted_server_from_settings(logged_out, closed, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    folder = logged_out / ".config" / "wandb"
    folder.mkdir(parents=True)
    (folder / "settings").write_text(f"[default]\nbase_url = {closed}\n")
    assert closed.removeprefix("http://") in wandb_mode("auto").reason


@pytest.mark.parametrize(
    ("variable", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_auto_follows_wandb_mode(variable, mode, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert wandb_mode("auto") == WandbMode(mode)
    assert wandb_mode("online") == WandbMode("online")
    assert wandb_mode("offline") == WandbMode("offline")
