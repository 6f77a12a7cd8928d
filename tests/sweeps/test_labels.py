import pytest

from lightning_colorize.sweeps.labels import Labels, clock, format_value, short_names


def test_a_name_is_as_short_as_tells_it_from_the_others():
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


def test_only_what_changes_is_said(engine):
    sweep = engine.sweep(
        {
            "model.encoder": ["experiments/encoder/unet.yaml", "experiments/encoder/vgg16.yaml"],
            "model.lr": {"values": [1e-4, 0.0012345]},
            "model.skip": [True, None],
            "data.size": 64,
            "data.crop": [[0.5, 1]],
        }
    )
    labels = Labels(sweep)
    values = {
        "model.encoder": "experiments/encoder/vgg16.yaml",
        "model.lr": 0.0012345,
        "model.skip": None,
        "data.size": 64,
        "data.crop": [0.5, 1],
    }
    assert labels.changes(values) == "encoder=vgg16, lr=0.001234, skip=None"
    assert labels.changes({}) == ""
    assert labels.choices("model.encoder") == ["unet", "vgg16"]


def test_a_range_may_be_too_long_to_count(engine):
    long = {"min": 0, "max": 10**20}
    assert Labels(engine.sweep({"x": long}, method="random", run_cap=1)).names == {"x": "x"}


def test_a_constant_makes_a_name_ambiguous_too(engine):
    labels = Labels(engine.sweep({"generator.lr": 0.1, "discriminator.lr": [1, 2]}))
    assert labels.names == {"discriminator.lr": "discriminator.lr"}


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (["a/x.yaml", "b/x.yaml"], ["a/x.yaml", "b/x.yaml"]),
        ([1, "one", True, "True"], ["1", '"one"', "true", '"True"']),
        ([0.12341, 0.12342], ["0.12341", "0.12342"]),
        ([[0.5, 0.9], [0.9, 0.999]], ["[0.5, 0.9]", "[0.9, 0.999]"]),
    ],
)
def test_values_that_differ_are_written_differently(engine, values, written):
    labels = Labels(engine.sweep({"x": {"values": values}}))
    assert labels.choices("x") == written
    assert [labels.value("x", value) for value in values] == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "-"), (23.1, "23.10"), (0.94567, "0.9457"), (1234.2, "1234"), (-0.5, "-0.5000")],
)
def test_numbers(value, written):
    assert format_value(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(None, "-"), (0.4, "0:00"), (59.6, "1:00"), (80, "1:20"), (600, "10:00"), (90061, "25:01:01")],
)
def test_times(seconds, written):
    assert clock(seconds) == written
