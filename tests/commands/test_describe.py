import pytest

from lightning_colorize.common.bundled import bundled


def test_the_layers_of_an_experiment_are_listed(command, capsys):
    assert command("describe", "experiments/quickstart.yaml", "--size", 32) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    layers = {row[0]: row[1:] for row in rows if row}
    # 9 weights for each of 8 channels, and as many multiplications for each pixel
    assert layers["encoder.stages.0.0.0"] == ["Conv2d", "8", "x", "32", "x", "32", "72", "0.1"]
    assert layers["head.conv"][:6] == ["Conv2d", "2", "x", "16", "x", "16"]
    assert layers["net:"][:2] == ["448,298", "parameters,"]
    assert layers["net:"][-3:] == ["32", "x", "32"]


@pytest.mark.parametrize("name", ["flow", "cgan_pix2pix"])
def test_denoisers_and_discriminators_are_listed(command, capsys, name):
    assert command("describe", bundled("experiments") / f"{name}.yaml", "--size", 64) == 0
    shown = capsys.readouterr().out
    assert ("denoiser.out" if name == "flow" else "discriminator: ") in shown


def test_a_run_is_described_by_its_configuration(command, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model: {class_path: lightning_colorize.tasks.Nothing}")
    assert command("describe", tmp_path) == 2
    assert "Nothing" in capsys.readouterr().err
    assert command("describe", tmp_path / "missing") == 2
    assert "missing does not exist" in capsys.readouterr().err
    assert command("describe", "experiments/cgan_pix2pix.yaml", "--size", 8) == 2
    assert "or more with this discriminator" in capsys.readouterr().err
