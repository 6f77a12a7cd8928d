import json

import pytest


def _answers(path, participant, chosen, *, passed=6):
    """Six checks, and one trial a question in which `chosen` wins."""
    trial = {"image": "cats/a.jpg", "category": "cats", "milliseconds": 900}
    check = {**trial, "question": "real", "check": True, "left": "truth", "right": "broken"}
    trials = [{**check, "answer": "left" if i < passed else "right"} for i in range(6)]
    for question, other in (("real", "truth"), ("better", "cnn")):
        one = {**trial, "question": question, "check": False, "left": "gan", "right": other}
        trials.append({**one, "answer": "left" if chosen == "gan" else "right"})
    trials[-1]["category"] = "dogs"
    path.write_text(
        json.dumps(
            {
                "format": "lightning-colorize study", "version": 1, "page": "x",
                "systems": ["cnn", "gan"], "participant": participant, "trials": trials,
            }
        )
    )  # fmt: skip
    return path


def test_rates_are_printed_and_written(command, tmp_path, capsys):
    files = [_answers(tmp_path / f"{i}.json", f"p{i}", "gan" if i else "cnn") for i in range(3)]
    files.append(_answers(tmp_path / "again.json", "p0", "cnn"))
    files.append(_answers(tmp_path / "careless.json", "p9", "gan", passed=4))
    path = tmp_path / "rates.json"
    assert command("study", "score", *files, "--json", path) == 0
    output = capsys.readouterr()
    fooling, preferred = output.out.split("preferred")
    assert [line.split()[:4] for line in fooling.splitlines()][1] == ["gan", "67%", "[21%,", "94%]"]
    assert [line.split()[:2] for line in preferred.splitlines()][1:3] == [
        ["cnn", "33%"],
        ["gan", "67%"],
    ]
    assert "3 participants, 6 answers\n" in output.out
    assert output.out.splitlines()[-1].startswith("intervals treat answers as independent")
    assert "p9" in output.err
    assert "passed 4 of 6" in output.err
    assert "again.json is in an earlier file" in output.err
    numbers = json.loads(path.read_text())
    assert numbers["participants"] == ["p0", "p1", "p2"]
    assert numbers["left_out"] == {"p9": {"passed": 4, "of": 6}}
    gan = numbers["rates"]["fooling"]["gan"]
    assert gan == {
        "rate": pytest.approx(2 / 3), "chosen": 2, "trials": 3,
        "low": pytest.approx(0.2077, abs=1e-4), "high": pytest.approx(0.9385, abs=1e-4),
    }  # fmt: skip
    assert numbers["categories"]["dogs"]["preference"]["cnn"]["trials"] == 3
    assert numbers["categories"]["dogs"]["fooling"] == {}


def test_no_attentive_participant_is_exit_1(command, tmp_path, capsys):
    file = _answers(tmp_path / "a.json", "p1", "gan", passed=0)
    assert command("study", "score", file) == 1
    assert capsys.readouterr().out == "0 participants, 0 answers\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("score", "nothing.json"), "No such file"),
        (("score", "nothing.json", "--json", "."), "--json . is a folder"),
        (("score",), "FILE"),
        (("rank",), "score"),
    ],
)
def test_wrong_use_is_one_line(command, capsys, words, message):
    assert command("study", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lightning-colorize: ")
    assert error.count("\n") == 1
    assert message in error
