from lightning_colorize.common.text import printable, short_names


def test_lines_for_a_terminal_contain_no_control_characters():
    for name in ("Äpfel und 蘋果.jpg", "海\u3000辺.jpg", "a\u00a0b"):
        assert printable(name) == name
    escaped = "a\x1b[2J\n\x9b\udcff\u202e\u2028\u2029"
    assert printable(escaped) == r"a\x1b[2J\n\x9b\udcff\u202e\u2028\u2029"


def test_short_names_are_unique():
    assert short_names(["model.encoder", "model.loss", "model.loss.beta", "data.size"]) == {
        "model.encoder": "encoder",
        "model.loss": "loss",
        "model.loss.beta": "beta",
        "data.size": "size",
    }
    assert short_names(["model.generator.lr", "model.discriminator.lr", "lr", "seed"]) == {
        "model.generator.lr": "generator.lr",
        "model.discriminator.lr": "discriminator.lr",
        "lr": "lr",
        "seed": "seed",
    }
    # Not the whole part: "small_size" does not end in "size".
    assert short_names(["a.size", "a.small_size"])["a.size"] == "size"
    # Without the parts of jsonargparse, unless two names would be equal.
    assert short_names(["a.init_args.lr", "b.init_args.lr", "b.class_path"]) == {
        "a.init_args.lr": "a.lr",
        "b.init_args.lr": "b.lr",
        "b.class_path": "b",
    }
    assert short_names(["a", "a.class_path"]) == {"a": "a", "a.class_path": "a.class_path"}
