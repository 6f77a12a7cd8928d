"""Whether a Weights & Biases run can be online, found out without importing wandb.

`wandb.init` with a key and no network blocks for its whole timeout and then raises, and without a
key it asks for one; so both are looked at beforehand.
"""

import configparser
import netrc
import os
import socket
import threading
import urllib.request
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
    url = _server()
    if not _logged_in(url):
        return WandbMode("offline", "not logged in; `wandb login` or WANDB_API_KEY changes that")
    if wish is None and not _reachable(url):
        return WandbMode("offline", f"{urlsplit(url).netloc} does not answer")
    return WandbMode("online")


def _server() -> str:
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    # Where `wandb login --host` keeps the address of a server of one's own.
    folder = os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(Path(folder) / "settings", encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        settings.clear()
    return settings.get("default", "base_url", fallback="https://api.wandb.ai")


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


def _reachable(url: str) -> bool:
    address = urlsplit(url)
    host = address.hostname or ""
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = address.port or (80 if address.scheme == "http" else 443)
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT).close()
        except OSError:
            return
        answered.set()

    # A name server that is silent blocks for longer than any timeout of the socket, hence a thread.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    return answered.is_set()
