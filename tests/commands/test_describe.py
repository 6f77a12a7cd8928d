from xml.etree import ElementTree


def test_an_experiment_is_listed_and_drawn(command, tmp_path, capsys):
    figure = tmp_path / "net.svg"
    assert command("describe", "experiments/quickstart.yaml", "--size", 32, "--svg", figure) == 0
    shown = capsys.readouterr().out
    assert "head.conv" in shown
    assert "MACs for an image of 32 x 32" in shown
    root = ElementTree.fromstring(figure.read_text())
    assert len(root.findall("{*}rect")) > 5
    assert command("describe", "experiments/quickstart.yaml", "--svg", figure) == 2
    assert "net.svg exists" in capsys.readouterr().err


def test_a_run_is_described_by_its_configuration(command, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model: {class_path: lightning_colorize.tasks.Nothing}")
    assert command("describe", tmp_path) == 2
    assert "Nothing" in capsys.readouterr().err
    assert command("describe", tmp_path / "missing") == 2
    assert "missing does not exist" in capsys.readouterr().err
