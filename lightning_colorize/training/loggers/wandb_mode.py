"""The mode of a Weights & Biases run, determined without importing wandb.

`wandb.init` with a key but without a network blocks for its whole timeout and then raises; without
a key it prompts for one. Both are checked beforehand.
"""

import configparser
import logging
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
# One server; which name W&B uses, and stores the key under, depends on its version.
_SERVERS = ("https://api.wandb.ai", "https://api.forge.coreweave.com")
_TIMEOUT = 4.0  # seconds; the whole check stays below 5

_log = logging.getLogger(__name__)


class WandbMode(NamedTuple):
    """The mode of a W&B run.

    Attributes:
        mode: The argument of `wandb.init`.
        reason: Why a better mode is not possible; empty otherwise.
    """

    mode: Mode
    reason: str = ""

    def fallback(self, reason: str) -> "WandbMode":
        """Return the next best mode where this one fails: offline, then disabled."""
        return WandbMode("offline" if self.mode == "online" else "disabled", reason)

    def warn(self) -> None:
        """Log in one line why a better mode is not possible."""
        if self.reason:
            states = {"offline": "the run is offline", "disabled": "the run continues without it"}
            _log.warning("W&B: %s (%s)", states[self.mode], self.reason)


def wandb_mode(asked: Literal["auto", "online", "offline", "disabled"]) -> WandbMode:
    """Return the mode for a requested one; takes at most 5 s.

    `auto` follows WANDB_MODE if it is set. Otherwise the run is online if there are credentials and
    the server responds.
    """
    variable = os.environ.get("WANDB_MODE", "").lower()
    mode = _WANDB_MODES.get(variable) if asked == "auto" else asked
    if mode in ("offline", "disabled"):
        return WandbMode(mode)
    online = WandbMode("online")
    servers = _servers()
    if not any(map(_logged_in, servers)):
        return online.fallback("not logged in: run `wandb login` or set WANDB_API_KEY")
    if mode is None and not _reachable(servers):
        return online.fallback(f"{urlsplit(servers[0]).netloc} does not respond")
    return online


def _servers() -> tuple[str, ...]:
    """Return the names of the server that this user's W&B uses."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return (url,)
    # `wandb login --host` stores the URL of a self-hosted server here.
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
    """Return whether the server responds under one of its names, within `_TIMEOUT`."""
    answered = threading.Event()

    def connect(host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), timeout=_TIMEOUT).close()
        except OSError:
            return
        answered.set()

    # DNS lookups ignore the timeout of the socket, hence threads.
    threads = [threading.Thread(target=connect, args=_endpoint(url), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end and any(thread.is_alive() for thread in threads):
        if answered.wait(0.05):
            break
    return answered.is_set()


def _endpoint(url: str) -> tuple[str, int]:
    """Return the host and port to connect to for a URL: those of its proxy, if any."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
