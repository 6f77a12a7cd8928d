"""Whether a Weights & Biases run can be online, found out without importing wandb.

`wandb.init` with a key and no network blocks for its whole timeout and then raises, and without a
key it asks for one; so both are looked at beforehand.
"""

import configparser
import netrc
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Mode = Literal["online", "offline", "disabled"]

_WANDB_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
# The same server; which name W&B knows it by, and keeps its key under, depends on its version.
_SERVERS = ("https://api.wandb.ai", "https://api.forge.coreweave.com")
_TIMEOUT = 4.0  # seconds; with what comes before and after it stays below 5


class WandbMode(NamedTuple):
    """How a W&B run is kept.

    Attributes:
        mode: What `wandb.init` is told.
        reason: Why it is offline although online was wished; otherwise empty.
    """

    mode: Mode
    reason: str = ""


def wandb_mode(asked: Literal["auto", "online", "offline", "disabled"]) -> WandbMode:
    """Return the mode for what the user asked for; takes at most 5 s.

    `auto` follows WANDB_MODE where that is set; else it is online if there are credentials and the
    server answers.
    """
    wish = _WANDB_MODES.get(os.environ.get("WANDB_MODE", "").lower()) if asked == "auto" else asked
    if wish in ("offline", "disabled"):
        return WandbMode(wish)
    servers = _servers()
    if not any(map(_logged_in, servers)):
        return WandbMode("offline", "not logged in; `wandb login` or WANDB_API_KEY changes that")
    if wish is None and not _reachable(servers):
        return WandbMode("offline", f"{urlsplit(servers[0]).netloc} does not answer")
    return WandbMode("online")


def _servers() -> tuple[str, ...]:
    """Return the names of the one server that is W&B's for this user."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return (url,)
    # Where `wandb login --host` keeps the address of a server of one's own.
    folder = os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(Path(folder) / "settings", encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        settings.clear()
    own = settings.get("default", "base_url", fallback=None)
    return _SERVERS if own is None or own in _SERVERS else (own,)


def _logged_in(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    candidates = [Path.home() / ".netrc", Path.home() / "_netrc"]
    if path := os.environ.get("NETRC"):
        candidates = [Path(path).expanduser()]
    for file in candidates:
        try:
            if netrc.netrc(file).authenticators(urlsplit(url).netloc):
                return True
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
    return False


def _reachable(urls: Sequence[str]) -> bool:
    """Return whether a server answers under one of its names; takes `_TIMEOUT` at most."""
    answered = threading.Event()

    def connect(host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), timeout=_TIMEOUT).close()
        except OSError:
            return
        answered.set()

    # A name server that is silent blocks for longer than any timeout of the socket, hence threads.
    threads = [threading.Thread(target=connect, args=_address(url), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end and any(thread.is_alive() for thread in threads):
        if answered.wait(0.05):
            break
    return answered.is_set()


def _address(url: str) -> tuple[str, int]:
    """Return host and port that a connection for this URL goes to: the proxy's, if there is one."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
