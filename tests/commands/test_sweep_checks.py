import pytest
import yaml

from lightning_colorize.commands.sweep_checks import check, fit_words, variations
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.spec import read_sweep

UNIFORM = {"min": 0.0, "max": 1.0}
FIT = ["${env}", "lightning-colorize", "fit", "--config", "experiments/quickstart.yaml", "${args}"]


def write(folder, parameters, **more):
    file = folder / "mine.yaml"
    content = {"method": "grid", "command": FIT, "parameters": parameters, **more}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def refusal(file):
    with pytest.raises(UsageError) as error:
        check(read_sweep(file), file)
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        (["/usr/bin/env", "lightning-colorize", "fit", "--a", "b"], ["--a", "b"]),
        (["/opt/bin/lightning-colorize", "fit"], []),
        (["python", "-m", "lightning_colorize", "fit", "x"], ["x"]),
        (["torchrun", "-m", "lightning_colorize", "fit", "--seed=1"], ["--seed=1"]),
        (["lightning-colorize", "bench", "fit"], None),
        (["python", "fit.py", "fit"], None),
    ],
)
def test_words_after_fit(words, rest):
    assert fit_words(words) == rest


def test_variations_contain_each_listed_value(tmp_path):
    file = write(
        tmp_path, {"a": {"values": [1, 2, 3]}, "b": {"value": 4}, "c": {"values": ["x", "y"]}}
    )
    assert list(variations(read_sweep(file))) == [
        {"a": 1, "b": 4, "c": "x"},
        {"a": 2, "b": 4, "c": "x"},
        {"a": 3, "b": 4, "c": "x"},
        {"a": 1, "b": 4, "c": "y"},
    ]


def test_variations_of_ranges_are_their_ends_or_quartiles(tmp_path):
    coarse = {"distribution": "q_uniform", "min": 1.0, "max": 3.0, "q": 10}
    ranges = {"a": {"min": 0, "max": 10**20}, "b": {"min": 1.0, "max": 3.0}, "c": coarse}
    file = write(tmp_path, ranges, method="random", run_cap=1)
    assert list(variations(read_sweep(file))) == [
        {"a": 0, "b": 2.0, "c": 0.0},
        {"a": 10**20, "b": 2.0, "c": 0.0},
        {"a": 0, "b": 2.5, "c": 0.0},
    ]


def test_a_valid_file_passes(tmp_path):
    parameters = {
        "model.encoder": {"values": ["experiments/encoder/conv_small.yaml"]},
        "model.loss": {"values": ["experiments/loss/l1.yaml", "experiments/loss/mse.yaml"]},
        "model.optimizer.lr": {"min": 0.0001, "max": 0.01},
        "trainer.max_time": {"value": "null"},
        "data.flip": {"values": [0.0, 0.5]},
    }
    metric = {"name": "test/psnr", "goal": "maximize"}
    file = write(tmp_path, parameters, method="random", run_cap=3, metric=metric)
    check(read_sweep(file), file)


def test_other_programs_are_not_checked(tmp_path):
    file = write(tmp_path, {"anything": {"value": None}}, command=["python", "mine.py", "${args}"])
    check(read_sweep(file), file)


@pytest.mark.parametrize(
    ("parameters", "more", "expected"),
    [
        ({"model.optimiser.lr": {"value": 0.1}}, {}, "model.optimiser"),
        ({"model.loss": {"values": ["experiments/loss/l1.yaml", "L7"]}}, {}, "L7"),
        ({"data.size": {"values": [64, "large"]}}, {}, "--data.size: 'large'"),
        ({"trainer.max_time": {"value": None}}, {}, 'write "null", with the quotes'),
        ({"data.root": {"value": "/no/such/folder"}}, {}, "/no/such/folder"),
        (
            {"data.size": {"value": 64}},
            {"metric": {"name": "val/accuracy", "goal": "maximize"}},
            "'val/accuracy' is not a metric of validations or tests; accepted: val/loss, val/",
        ),
        (
            {"data.size": {"value": 64}},
            {"metric": {"name": "train/loss", "goal": "minimize"}},
            "'train/loss' is not a metric of validations or tests",
        ),
        (
            {"data.size": {"value": 64}, "run.test": {"value": False}},
            {"metric": {"name": "test/psnr", "goal": "maximize"}},
            "metric.name: 'test/psnr' needs the test, but run.test is false; set it to true",
        ),
        (
            {"data.size": {"value": 64}},
            {
                "metric": {"name": "test/psnr", "goal": "maximize"},
                "command": [*FIT, "--run.test", "false"],
            },
            "or write val/psnr",
        ),
    ],
)
def test_errors_of_fit_are_reported_before_any_trial(tmp_path, parameters, more, expected):
    message = refusal(write(tmp_path, parameters, **more))
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert expected in message


LONG = "model.init_args.optimizer.init_args.lr"
RATE, RATES = {"value": 0.5}, {"values": [0.5, 0.2]}
ADAM = {"value": "experiments/optimizer/adam.yaml"}
SGD = {"value": "torch.optim.SGD"}
UNET = "experiments/cnn_unet.yaml"


@pytest.mark.parametrize(
    ("parameters", "more", "expected"),
    [
        ({LONG: RATES, "model.optimizer.lr": {"value": 1}}, [], "lr: the command sets it to 0.5, "),
        ({"model.init_args.optimizer": SGD, "model.optimizer": ADAM}, [], "model.optimizer: the"),
        # A fragment replaces the class with all of its arguments.
        ({LONG: RATE, "model.optimizer": ADAM}, [], "model.optimizer.lr: the command sets it to"),
        ({LONG: RATE, "model.optimizer.init_args": {"value": {"lr": 1}}}, [], "0.5, then to 1.0"),
        ({"data.size": {"values": [64, 96]}}, ["--data.size=64"], "sets it to 96, then to 64"),
        ({"model.optimizer.lr": RATES}, [f"--{LONG}", "0.1"], "model.optimizer.lr: the command"),
        ({"model.optimizer.lr": RATE}, ["--config", UNET], "0.5, then to 0.001"),
        ({"model.optimizer.lr": UNIFORM}, ["-c", UNET], "0.5, then to 0.001"),
    ],
)
def test_a_parameter_that_is_overridden_is_refused(tmp_path, parameters, more, expected):
    message = refusal(write(tmp_path, parameters, method="random", command=[*FIT, *more]))
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("values", [[64, "64", 96], [96, 64, "64"]])
def test_values_that_train_alike_are_refused(tmp_path, values):
    file = write(tmp_path, {"data.size": {"values": values}})
    assert "parameters.data.size: 64 and '64' give the same configuration" in refusal(file)


@pytest.mark.parametrize(
    ("parameters", "more"),
    [
        ({"model.optimizer.lr": RATES}, ["--model.optimizer", "torch.optim.SGD"]),
        ({"model.optimizer": SGD}, ["--model.optimizer.init_args.momentum=0.9"]),
        ({"model.optimizer.class_path": SGD, "model.optimizer.lr": RATES}, []),
        ({"config": {"value": UNET}}, ["--data.size", "64", "--model.optimizer.lr", "0.1"]),
        ({"model.optimizer.lr": RATES}, ["--config", "experiments/gpu/fused.yaml"]),
        ({"data.size": {"value": 64}}, ["--data.size", "64"]),
    ],
)
def test_what_overrides_no_parameter_may_follow(tmp_path, parameters, more):
    file = write(tmp_path, parameters, command=[*FIT, *more])
    check(read_sweep(file), file)


def test_an_argument_after_its_class_and_a_default_before_the_parameters_pass(tmp_path):
    parameters = {
        "model.optimizer": {"values": ["experiments/optimizer/adam.yaml"]},
        "model.optimizer.init_args.lr": {"values": [0.1, 0.2]},
        "model.init_args.encoder_lr_ratio": {"value": 0.1},
        "data.size": {"values": [64, 96]},
    }
    file = write(tmp_path, parameters, command=[*FIT[:-1], "--data.size", "32", FIT[-1]])
    check(read_sweep(file), file)


def test_an_unset_variable_is_an_error(tmp_path, monkeypatch):
    command = ["python", "mine.py", "${envvar:DATA_ROOT}", "a${envvar:OTHER}", "${args}"]
    file = write(tmp_path, {"x": {"value": 1}}, command=command)
    monkeypatch.setenv("OTHER", "b")
    monkeypatch.delenv("DATA_ROOT", raising=False)
    assert "needs DATA_ROOT, which" in refusal(file)
    monkeypatch.setenv("DATA_ROOT", "photos")
    check(read_sweep(file), file)
