import pytest
import torch
import yaml

from lightning_colorize.commands.tune import choose_rate
from lightning_colorize.tasks import RegressionTask


def test_fit_accepts_the_rate_tuned_on_training_images(command, tmp_path, capsys, monkeypatch):
    splits, step = set(), RegressionTask.training_step

    def recorded(self, batch, *args):
        splits.update(name.partition("/")[0] for name in batch.names)
        return step(self, batch, *args)

    monkeypatch.setattr(RegressionTask, "training_step", recorded)
    fragment = tmp_path / "new" / "lr.yaml"
    assert command("tune", *command.words("x"), "--output", fragment, "--steps", 25) == 0
    assert splits == {"train"}
    optimizer = yaml.safe_load(fragment.read_text())["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam"
    assert 1e-6 <= optimizer["init_args"]["lr"] <= 1
    out = capsys.readouterr().out
    assert f"--config {fragment}" in out
    assert f"Learning rate {optimizer['init_args']['lr']:.3g}, written to {fragment}" in out
    # Tuning creates no run folder.
    assert not command.root.exists()
    by_fragment = ["--model.optimizer", "--model.optimizer.lr"]
    words = command.words("y", "--trainer.max_epochs", 1, without=by_fragment)
    assert command("fit", *words, "--config", fragment) == 0
    config = yaml.safe_load((command.root / "tiny" / "y" / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == pytest.approx(
        optimizer["init_args"]["lr"]
    )


@pytest.mark.parametrize(
    ("loss", "rate", "is_clear"),
    [
        (lambda log: 1 + 0.1 * abs(log + 2), 1e-3, True),
        (lambda log: 2 - 0.1 * log, 0.1, False),  # falls up to the highest rate
        (lambda log: 2 + 0.01 * abs(log + 2), 1e-3, False),  # nearly flat
        (lambda log: 2 + 0.1 * log, 1e-6, False),  # never falls
    ],
)
def test_a_curve_without_a_clear_minimum_is_recognized(loss, rate, is_clear):
    logs = [-6 + 0.06 * step for step in range(101)]
    losses = [9, 0.1, *map(loss, logs[2:])]  # the first are noise
    expected = (pytest.approx(rate, rel=0.2), is_clear)
    assert choose_rate([10**log for log in logs], losses) == expected


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_encoder_keeps_its_rates(command, tmp_path, monkeypatch, decay):
    rates = []
    step = torch.optim.Adam.step

    def recorded(self, *args, **kwargs):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    words = command.words("x", "--model.encoder_lr_ratio", 0.1)
    words += ["--model.encoder_lr_decay", str(decay)]
    assert command("tune", *words, "--output", tmp_path / "lr.yaml", "--steps", 20) in (0, 1)
    assert len(rates) >= 10
    for *encoder, rest in rates:
        shares = [0.1 * decay ** (len(encoder) - 1 - level) for level in range(len(encoder))]
        assert encoder == pytest.approx([share * rest for share in shares])
    assert len(encoder) == (1 if decay == 1 else 2)


def test_a_gan_is_refused(command, tmp_path, capsys):
    words = ["--config", "experiments/cgan_pix2pix.yaml", "--data.root", command.photos]
    words += ["--data.size", 32, "--model.encoder.width", 2, "--model.discriminator.width", 2]
    assert command("tune", *words, "--output", tmp_path / "lr.yaml") == 2
    assert "a GAN has two: set them manually" in capsys.readouterr().err
