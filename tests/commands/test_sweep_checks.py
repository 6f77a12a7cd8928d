import pytest
import yaml

from lightning_colorize.commands.sweep_checks import check
from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.sweeps.command_line import fit_words
from lightning_colorize.sweeps.space import variations
from lightning_colorize.sweeps.spec import read_sweep
from lightning_colorize.training import session

UNIFORM = {"min": 0.0, "max": 1.0}
METRIC = {"name": "test/psnr", "goal": "maximize"}
FIT = ["${env}", "lightning-colorize", "fit", "--config", "experiments/quickstart.yaml", "${args}"]


def write(folder, parameters, **more):
    file = folder / "mine.yaml"
    content = {"method": "grid", "command": FIT, "parameters": parameters, **more}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def refusal(file):
    """Return the message of a refusal, without the file's name at its start."""
    with pytest.raises(UsageError) as error:
        check(read_sweep(file), file)
    assert str(error.value).startswith(f"{file}: ")
    return str(error.value).removeprefix(f"{file}: ")


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


def test_variations_contain_each_listed_value_and_two_of_a_range(tmp_path):
    parameters = {
        "a": {"values": [1, 2, 3]},
        "b": {"value": 4},
        "c": {"min": 0, "max": 10**20},
        "d": {"min": 1.0, "max": 3.0},
        "e": {"distribution": "q_uniform", "min": 1.0, "max": 3.0, "q": 10},
    }
    file = write(tmp_path, parameters, method="random", run_cap=1)
    first, *others = variations(read_sweep(file).parameters)
    *listed, last = others
    draws = first["d"], last["d"]
    assert 1.0 < min(draws) < max(draws) < 3.0
    assert first == {"a": 1, "b": 4, "c": 0, "d": draws[0], "e": 0.0}
    assert listed == [first | change for change in ({"a": 2}, {"a": 3}, {"c": 10**20})]
    assert last == first | {"d": draws[1]}


@pytest.mark.parametrize(
    ("parameters", "more", "expected"),
    [
        ({"model.optimiser.lr": {"value": 0.1}}, {}, "optimiser"),
        ({"model.loss": {"values": ["experiments/loss/l1.yaml", "L7"]}}, {}, "L7"),
        ({"data.size": {"values": [64, "large"]}}, {}, "data.size"),
        ({"data.batch_size": {"values": [16, 0]}}, {}, "--data.batch_size is 0"),
        ({"trainer.max_time": {"value": None}}, {}, 'write "null" with quotes'),
        ({"data.root": {"value": "/no/such/folder"}}, {}, "/no/such/folder"),
        (
            {"data.size": {"value": 64}},
            {"metric": {"name": "train/loss", "goal": "minimize"}},
            "'train/loss' is not a validation or test metric; accepted: val/loss, val/",
        ),
        ({"run.test": {"value": False}}, {"metric": METRIC}, "'test/psnr' needs the test, but"),
        ({"trainer.strategy": {"values": ["auto", "ddpp"]}}, {}, "strategy='ddpp'"),
        ({"trainer.max_time": {"values": ["null", "1h"]}}, {}, "Timer(duration='1h')"),
        ({"trainer.profiler": {"value": "foo"}}, {}, "`profiler`"),
        ({"trainer.limit_train_batches": {"values": [1.0, 1.5]}}, {}, "limit_train_batches"),
        ({"trainer.devices": {"value": 99}, "trainer.accelerator": {"value": "gpu"}}, {}, "gpu"),
        ({"trainer.log_every_n_steps": {"value": 0}}, {}, "must be at least 1"),
        ({"model.optimizer.lr": {"values": [0.1, -0.01]}}, {}, "Invalid learning rate: -0.01"),
        ({"model.optimizer.betas": {"value": [0.9, 1.5]}}, {}, "Invalid beta parameter"),
        ({"model.encoder.widths": {"value": [8, 16]}}, {}, "out_reduction is 2"),
        ({"run.monitor": {"value": "val/pnsr"}}, {}, "'val/pnsr' is not a metric"),
        ({"run.patience": {"value": 0}}, {}, "--run.patience: 0"),
        ({"model.losss": {"value": 1}}, {}, "Parser key \"model\": Option 'losss' is not"),
        (
            {
                "model.metrics": {
                    "value": '{"own": {"class_path": "torchmetrics.MeanSquaredError"}}'
                }
            },
            {"metric": {"name": "val/own", "goal": "maximize"}},
            "metric.goal: contradicts torchmetrics.MeanSquaredError.higher_is_better",
        ),
        (
            {"data.size": {"value": 64}},
            {"metric": METRIC, "command": [*FIT, "--run.test", "false"]},
            "or use val/psnr",
        ),
    ],
)
def test_errors_of_fit_are_reported_before_any_trial(tmp_path, parameters, more, expected):
    assert expected in refusal(write(tmp_path, parameters, **more))


def test_jobs_have_other_devices_and_trials_no_tasks_of_slurm(tmp_path, monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, "3")
    gpus = {"trainer.accelerator": {"value": "gpu"}, "trainer.devices": {"value": 4}}
    file = write(tmp_path, gpus)
    check(read_sweep(file), file, here=False)


class ReadsItsTensors(ConvEncoder):
    def __init__(self) -> None:
        super().__init__(widths=[8, 16, 32])
        self.total = float(next(self.parameters()).sum())


def test_a_network_that_reads_its_tensors_is_left_to_fit(tmp_path):
    encoder = {"value": f"{__name__}.ReadsItsTensors"}
    file = write(tmp_path, {"model.encoder": encoder})
    check(read_sweep(file), file)


def test_each_distinct_value_is_built_once(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(session, "Trainer", lambda **options: built.append(options["max_epochs"]))
    parameters = {"model.optimizer.lr": RATES, "trainer.max_epochs": {"values": [1, 2]}}
    file = write(tmp_path, {**parameters, "data.size": {"values": [64, 96, 128]}})
    check(read_sweep(file), file)
    assert built == [1, 2]


@pytest.mark.parametrize("monitor", ["val/psnr", "val/ssim", "null"])
@pytest.mark.parametrize("name", ["val/psnr", "test/psnr"])  # the test is of best.ckpt
def test_a_metric_that_does_not_choose_the_checkpoint_is_said(tmp_path, monitor, name):
    metric = {"name": name, "goal": "maximize"}
    file = write(tmp_path, {"run.monitor": {"value": monitor}}, metric=metric)
    _, remarks = check(read_sweep(file), file)
    said = any(f"by run.monitor {monitor}" in line for line in remarks)
    assert said == (name == "val/psnr" != monitor)


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
        ({"model.optimizer.lr": UNIFORM}, ["-c", UNET], "then to 0.001"),
    ],
)
def test_a_parameter_that_is_overridden_is_refused(tmp_path, parameters, more, expected):
    message = refusal(write(tmp_path, parameters, method="random", command=[*FIT, *more]))
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("values", [[64, "64", 96], [96, 64, "64"]])
def test_values_that_train_alike_are_refused(tmp_path, values):
    file = write(tmp_path, {"data.size": {"values": values}})
    assert "parameters.data.size: 64 and '64' result in the same configuration" in refusal(file)


MANY = {
    "model.encoder": {"values": ["experiments/encoder/conv_small.yaml"]},
    "model.loss": {"values": ["experiments/loss/l1.yaml", "experiments/loss/mse.yaml"]},
    "model.optimizer": ADAM,
    "model.optimizer.init_args.lr": {"min": 0.0001, "max": 0.01},
    "model.init_args.encoder_lr_ratio": {"value": 0.1},
    "trainer.max_time": {"value": "null"},
    "data.augmentation.flip": {"values": [0.0, 0.5]},
    "data.size": {"values": [64, 96]},
}


@pytest.mark.parametrize(
    ("parameters", "command"),
    [
        # An argument after its class, and a default before the parameters.
        (MANY, [*FIT[:-1], "--data.size", "32", FIT[-1]]),
        ({"model.optimizer.lr": RATES}, [*FIT, "--model.optimizer", "torch.optim.SGD"]),
        ({"model.optimizer": SGD}, [*FIT, "--model.optimizer.init_args.momentum=0.9"]),
        ({"model.optimizer.class_path": SGD, "model.optimizer.lr": RATES}, FIT),
        ({"config": {"value": UNET}}, [*FIT, "--data.size", "64", "--model.optimizer.lr", "0.1"]),
        ({"model.optimizer.lr": RATES}, [*FIT, "--config", "experiments/gpu/tf32.yaml"]),
        ({"data.size": {"value": 64}}, [*FIT, "--data.size", "64"]),
        # Another program's arguments are not checked.
        ({"anything": {"value": None}}, ["python", "mine.py", "${args}"]),
    ],
)
def test_valid_files_pass(tmp_path, parameters, command):
    more = {"metric": METRIC} if parameters is MANY else {}
    file = write(tmp_path, parameters, command=command, method="random", run_cap=3, **more)
    check(read_sweep(file), file)


def test_an_unset_variable_is_an_error(tmp_path, monkeypatch):
    command = ["python", "mine.py", "${envvar:DATA_ROOT}", "a${envvar:OTHER}", "${args}"]
    file = write(tmp_path, {"x": {"value": 1}}, command=command)
    monkeypatch.setenv("OTHER", "b")
    monkeypatch.delenv("DATA_ROOT", raising=False)
    assert "needs DATA_ROOT, which" in refusal(file)
    monkeypatch.setenv("DATA_ROOT", "photos")
    check(read_sweep(file), file)
