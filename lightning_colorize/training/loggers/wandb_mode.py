"""The mode of a Weights & Biases run, determined without importing wandb.

W&B has no check of its own: `wandb.init` with a key but without a network blocks for its whole
timeout and then raises; without a key it prompts for one.
"""

import configparser
import netrc
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Mode = Literal["online", "offline", "disabled"]

_WANDB_MODES: dict[str, Mode] = {"online": "online", "run": "online", "disabled": "disabled"}
_WANDB_MODES |= {"offline": "offline", "dryrun": "offline"}
# One server under two names; W&B's version decides which one it uses and stores the key under.
_SERVERS = ("https://api.wandb.ai", "https://api.forge.coreweave.com")
_TIMEOUT = 4.0  # seconds; the whole check stays below 5


class WandbMode(NamedTuple):
    """The mode of a W&B run."""

    mode: Mode  # the argument of `wandb.init`
    reason: str = ""  # why a better mode is not possible

    def fallback(self, reason: str) -> "WandbMode":
        """Return the next best mode where this one fails: offline, then disabled."""
        return WandbMode("offline" if self.mode == "online" else "disabled", reason)


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
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        settings.read(Path(folder) / "settings", encoding="utf-8")
    own = settings.get("default", "base_url", fallback=None)
    return _SERVERS if own is None or own in _SERVERS else (own,)


def _logged_in(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    given = os.environ.get("NETRC")
    for file in map(os.path.expanduser, [given] if given else ["~/.netrc", "~/_netrc"]):
        # Not by requests, which drops the port; W&B stores it.
        with suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            if netrc.netrc(file).authenticators(urlsplit(url).netloc):
                return True
    return False


def _reachable(urls: tuple[str, ...]) -> bool:
    """Return whether the server responds under one of its names, within `_TIMEOUT`."""
    import requests

    answers: list[str] = []

    def ask(url: str) -> None:
        try:
            requests.head(url, timeout=_TIMEOUT)
        except requests.exceptions.SSLError:
            pass  # W&B may trust another certificate
        except requests.RequestException:
            return
        answers.append(url)

    # DNS lookups ignore the timeout, hence threads.
    threads = [threading.Thread(target=ask, args=[url], daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT / len(urls))
    return bool(answers)
