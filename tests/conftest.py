"""Shared by all tests: no network, one thread, small photographs, and the real command."""

import csv
import ctypes
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

# A busy machine is no failure.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # hints would begin with `uv run`

_LOOPBACK = ("127.", "::1", "localhost")

TINY_NETWORK = {
    "--model": "lightning_colorize.tasks.RegressionTask",
    "--model.encoder": "lightning_colorize.networks.ConvEncoder",
    "--model.encoder.widths": "[4,8]",
    "--model.loss": "lightning_colorize.losses.L1",
    "--model.optimizer": "torch.optim.Adam",
    "--model.optimizer.lr": "0.01",
}
TINY_RUN = {
    "--data.size": "32",
    "--data.batch_size": "4",
    "--data.num_workers": "0",
    "--trainer.max_epochs": "2",
    "--trainer.log_every_n_steps": "1",
    "--trainer.accelerator": "cpu",
    "--run.experiment": "tiny",
    "--run.loggers.wandb": "disabled",
    "--run.grid_images": "2",
}


def pytest_collection_modifyitems(items):
    """Begin with the modules that take longest, or one worker runs the last of them alone.

    This order counts with `--no-loadscope-reorder`; by default, xdist begins with the modules of
    the most tests.
    """
    seconds = {"slow": 20, "browser": 5, "postgres": 5}
    modules = Counter()
    for item in items:
        limit = item.get_closest_marker("timeout")
        known = [seconds.get(marker.name, 0) for marker in item.iter_markers()]
        modules[item.path] += max(known, default=0) if limit is None else limit.args[0] // 10
    items.sort(key=lambda item: -modules[item.path])


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors are slower on several threads, and sums would depend on their number."""
    import torch

    torch.set_num_threads(1)
    # Forks of this process can train only if its first backward pass precedes torch.export.
    torch.ones(1, requires_grad=True).backward()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections that leave the machine fail at once."""
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if not str(host).startswith(_LOOPBACK):
            raise OSError(f"tests do not use the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """Remove the variables that a run sets for its processes."""
    monkeypatch.setattr(os, "environ", os.environ)
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        if name.startswith(("LIGHTNING_COLORIZE_", "PL_", "WANDB_")):
            del os.environ[name]


@pytest.fixture(scope="session")
def parser():
    """`fit`'s own parser; building it takes seconds, a parse some 50 ms."""
    from lightning_colorize.training.cli import ParsedCLI

    experiment = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
    return ParsedCLI(["--config", str(experiment)], "fit").parser


def make_image(number: int, width: int, height: int) -> Image.Image:
    """Return a gradient of two colors with a disc in a third; the number is the seed."""
    random = np.random.default_rng(number)
    top, bottom, disc = random.integers(20, 236, size=(3, 3))
    rows = np.linspace(0, 1, height)[:, None, None]
    pixels = np.broadcast_to((1 - rows) * top + rows * bottom, (height, width, 3)).copy()
    y, x = np.mgrid[:height, :width]
    center = random.uniform(0.3, 0.7, size=2) * (height, width)
    pixels[np.hypot(y - center[0], x - center[1]) < min(height, width) / 4] = disc
    pixels += random.normal(0, 6, size=pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_images(folder: Path, count: int, first: int = 0) -> None:
    """Write JPEG and PNG files of various sizes: `000.jpg`, `001.png`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        width, height = 40 + 7 * (number % 5), 36 + 9 * (number % 4)
        suffix = ".jpg" if number % 2 else ".png"
        make_image(number, width, height).save(folder / f"{number:03d}{suffix}", quality=95)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    """Twelve images for training, five for validation, three for the test; read only."""
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder / "train", 12)
    write_images(folder / "val", 5, first=20)
    write_images(folder / "test", 3, first=30)
    return folder


@pytest.fixture(scope="session")
def photographs():
    """Fifty parts of the twelve photographs of the documentation: (50, 3, 64, 64) in 0..1."""
    import torch

    parts = []
    for file in sorted((Path(__file__).parents[1] / "docs" / "photographs").glob("*.jpg")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        middle = pixels.shape[1] // 2
        for top, left in ((10, 20), (130, middle), (220, 60), (60, -90), (-80, middle - 80)):
            parts.append(pixels[top:, left:][:64, :64])
    chosen = [part for index, part in enumerate(parts) if index % 6]
    return torch.from_numpy(np.stack(chosen)).movedim(-1, 1) / 255


class Commands:
    """The command, in this process, on a tiny network and small images."""

    def __init__(self, photos: Path, root: Path, network: dict[str, str] = TINY_NETWORK) -> None:
        self.photos = photos
        self.root = root
        self.network = network

    def __call__(self, *words: object) -> int:
        """Call the command with these words; returns the exit code."""
        from lightning_colorize.cli import main

        return main([str(word) for word in words])

    def words(self, name: str, *more: object, without: Sequence[str] = ()) -> list[str]:
        """Return the words after `fit` for a tiny run; later ones override."""
        defaults = {**self.network, "--data.root": self.photos, **TINY_RUN}
        defaults |= {"--run.root": self.root, "--run.name": name}
        pairs = [pair for pair in defaults.items() if pair[0] not in without]
        return [str(word) for pair in pairs for word in pair] + [str(word) for word in more]

    def fit(self, name: str, *more: object) -> Path:
        assert self("fit", *self.words(name, *more)) == 0
        return self.root / "tiny" / name


@pytest.fixture
def command(photo_folder, tmp_path) -> Commands:
    """The command, with the test's own folder of runs."""
    return Commands(photo_folder, tmp_path / "runs")


@pytest.fixture(scope="session")
def finished_run(photo_folder, tmp_path_factory) -> Path:
    """The folder of a finished run of two epochs; read only."""
    return Commands(photo_folder, tmp_path_factory.mktemp("finished")).fit("one")


def read_lines(path: Path) -> list:
    """Return the lines of a JSON Lines file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def metric_rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def at_batch(monkeypatch):
    """Return a function that calls another in the n-th batch of the next run, once."""
    from pytorch_lightning import Callback

    from lightning_colorize.training.callbacks import build

    planned = {}

    class AtBatch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            planned.pop(trainer.fit_loop.total_batch_idx + 1, lambda: None)()

    def plan(number, act):
        planned.clear()
        planned[number] = act

    monkeypatch.setattr(build, "progress_callback", lambda monitor: AtBatch())
    return plan


@pytest.fixture
def stop_in(at_batch):
    """Return a function that interrupts the next run in its n-th batch, once."""

    def stop(number, *signals):
        def act():
            for each in signals or (signal.SIGINT,):
                signal.raise_signal(each)

        at_batch(number, act)

    return stop


@pytest.fixture
def stopped(command, stop_in):
    """Return a function that trains a run up to a signal in its n-th batch: its folder."""

    def fit(name, *options, batch=2, number=signal.SIGINT):
        stop_in(batch, number)
        assert command("fit", *command.words(name, *options)) == 128 + number
        return command.root / "tiny" / name

    return fit


@pytest.fixture
def error_of(command, capsys):
    """Return a function that calls a command that must fail; it returns the one line printed."""

    def call(*words, code=2):
        capsys.readouterr()
        assert command(*words) == code
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return call


@pytest.fixture
def permissions():
    """Permissions of files hold for root too: its thread loses two capabilities for the test."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version of the interface, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, 32 bits each, twice
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0
    yield
    sets[0] = effective
    assert libc.capset(header, sets) == 0
