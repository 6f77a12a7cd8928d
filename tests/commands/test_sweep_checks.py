import pytest
import yaml

from lightning_colorize.commands.sweep_checks import check, examples, fit_words, variations
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.spec import read_sweep

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
def test_what_follows_fit(words, rest):
    assert fit_words(words) == rest


def test_each_listed_value_comes_once_at_least(tmp_path):
    file = write(
        tmp_path, {"a": {"values": [1, 2, 3]}, "b": {"value": 4}, "c": {"values": ["x", "y"]}}
    )
    found = list(variations(read_sweep(file)))
    assert found == [
        {"a": 1, "b": 4, "c": "x"},
        {"a": 2, "b": 4, "c": "x"},
        {"a": 3, "b": 4, "c": "x"},
        {"a": 1, "b": 4, "c": "y"},
    ]


def test_of_a_range_the_ends_will_do(tmp_path):
    file = write(tmp_path, {"a": {"min": 0, "max": 10**20}}, method="random", run_cap=1)
    assert list(variations(read_sweep(file))) == [{"a": 0}, {"a": 10**20}]


def test_examples_of_a_grid_are_its_first_trials_and_others_are_drawn(tmp_path):
    sweep = read_sweep(write(tmp_path, {"a": {"values": [1, 2]}, "b": {"values": [3, 4]}}))
    assert examples(sweep, 3, 0) == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}]
    drawn = write(tmp_path, {"a": {"min": 0.0, "max": 1.0}}, method="random", run_cap=5)
    first, second = (examples(read_sweep(drawn), 2, seed) for seed in (0, 1))
    assert len(first) == 2
    assert first != second
    assert all(0 <= values["a"] <= 1 for values in first + second)


def test_a_file_that_fit_takes_is_let_through(tmp_path):
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


def test_another_programs_command_is_left_alone(tmp_path):
    file = write(tmp_path, {"anything": {"value": None}}, command=["python", "mine.py", "${args}"])
    check(read_sweep(file), file)


@pytest.mark.parametrize(
    ("parameters", "more", "told"),
    [
        ({"model.optimiser.lr": {"value": 0.1}}, {}, "model.optimiser"),
        ({"model.loss": {"values": ["experiments/loss/l1.yaml", "L7"]}}, {}, "L7"),
        ({"data.size": {"values": [64, "large"]}}, {}, "--data.size: 'large'"),
        ({"trainer.max_time": {"value": None}}, {}, 'write "null", with the quotes'),
        ({"data.root": {"value": "/no/such/folder"}}, {}, "/no/such/folder"),
        (
            {"data.size": {"value": 64}},
            {"metric": {"name": "val/accuracy", "goal": "maximize"}},
            "'val/accuracy' is never logged; accepted: val/loss, val/",
        ),
    ],
)
def test_what_fit_would_refuse_is_refused_before_any_trial(tmp_path, parameters, more, told):
    message = refusal(write(tmp_path, parameters, **more))
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert told in message


def test_a_variable_that_is_not_set_is_asked_for(tmp_path, monkeypatch):
    command = ["python", "mine.py", "${envvar:DATA_ROOT}", "a${envvar:OTHER}", "${args}"]
    file = write(tmp_path, {"x": {"value": 1}}, command=command)
    monkeypatch.setenv("OTHER", "b")
    monkeypatch.delenv("DATA_ROOT", raising=False)
    assert "needs DATA_ROOT, which" in refusal(file)
    monkeypatch.setenv("DATA_ROOT", "photos")
    check(read_sweep(file), file)
