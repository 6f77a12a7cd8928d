import pytest
import torch
import yaml


def test_what_it_finds_is_taken_by_fit(command, tmp_path, capsys):
    fragment = tmp_path / "found" / "lr.yaml"
    found = command("tune", *command.words("x"), "--output", fragment, "--steps", 25)
    assert found == 0
    optimizer = yaml.safe_load(fragment.read_text())["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam"
    assert 1e-6 <= optimizer["init_args"]["lr"] <= 1
    out = capsys.readouterr().out
    assert f"--config {fragment}" in out
    assert f"Learning rate {optimizer['init_args']['lr']:.3g}, written to {fragment}" in out
    # It is no run: nothing was left in the folder of runs.
    assert not command.root.exists()
    words = command.words("y", "--trainer.max_epochs", 1)
    at = words.index("--model.optimizer")
    del words[at : at + 4]  # the optimiser and its rate: the fragment's hold
    assert command("fit", *words, "--config", fragment) == 0
    config = yaml.safe_load((command.root / "tiny" / "y" / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == pytest.approx(
        optimizer["init_args"]["lr"]
    )


def test_an_existing_file_is_not_overwritten(command, tmp_path, capsys):
    (tmp_path / "lr.yaml").write_text("mine")
    assert command("tune", *command.words("x"), "--output", tmp_path / "lr.yaml") == 2
    assert "lr.yaml already exists" in capsys.readouterr().err
    assert (tmp_path / "lr.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "named"),
    [(("--steps", 5), "at least 20"), (("--min-lr", 2, "--max-lr", 1), "--min-lr 2")],
)
def test_bounds_without_sense_are_refused(command, tmp_path, capsys, words, named):
    assert command("tune", *command.words("x"), "--output", tmp_path / "lr.yaml", *words) == 2
    assert named in capsys.readouterr().err


def test_the_encoder_keeps_its_share_of_the_rate(command, tmp_path, monkeypatch):
    seen = []
    step = torch.optim.Adam.step

    def noted(self, *args, **kwargs):
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    words = command.words("x", "--model.encoder_lr_ratio", 0.1)
    assert command("tune", *words, "--output", tmp_path / "lr.yaml", "--steps", 20) in (0, 1)
    assert len(seen) >= 10
    for encoder, rest in seen:
        assert encoder == pytest.approx(0.1 * rest)


def test_a_gan_has_two_rates_to_find(command, tmp_path, capsys):
    words = ["--config", "experiments/cgan_pix2pix.yaml", "--data.root", command.photos]
    words += ["--data.size", 32, "--model.encoder.width", 2, "--model.discriminator.width", 2]
    assert command("tune", *words, "--output", tmp_path / "lr.yaml") == 2
    assert "a GAN has two: set them by hand" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_search(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command("tune", *command.words("x"), "--output", tmp_path / "file" / "lr.yaml") == 2
    assert "--output" in capsys.readouterr().err
