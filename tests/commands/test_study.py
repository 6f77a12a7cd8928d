import json

import pytest

from tests.reports.perception.simulated import answered, write_answers


def _answers(path, participant, chosen, *, passed=6):
    """Six checks, and one trial a question in which `chosen` wins."""
    given = ["left"] * passed + ["right"] * (6 - passed)
    trials = [answered("real", "truth", "broken", answer, check=True) for answer in given]
    side = "left" if chosen == "gan" else "right"
    trials.append(answered("real", "gan", "truth", side))
    trials.append(answered("better", "gan", "cnn", side) | {"category": "dogs"})
    return write_answers(path, trials, participant)


def test_rates_are_printed_and_written(command, tmp_path, capsys):
    files = [_answers(tmp_path / f"{i}.json", f"p{i}", "gan" if i else "cnn") for i in range(3)]
    files.append(_answers(tmp_path / "again.json", "p0", "cnn"))
    files.append(_answers(tmp_path / "careless.json", "p9", "gan", passed=4))
    path = tmp_path / "rates.json"
    assert command("study", "score", *files, "--json", path) == 0
    output = capsys.readouterr()
    fooling, preferred = output.out.split("preferred")
    # Three participants may all be those who chose it, or all the others.
    assert [line.split()[:4] for line in fooling.splitlines()][1] == ["gan", "67%", "[0%,", "100%]"]
    assert [line.split()[:2] for line in preferred.splitlines()][1:3] == [
        ["cnn", "33%"],
        ["gan", "67%"],
    ]
    assert "3 participants, 6 answers\n" in output.out
    assert output.out.splitlines()[-1] == "95 % intervals over 3 participants and 1 image"
    strength = preferred.split("Bradley-Terry")[1].splitlines()
    assert [line.split()[0] for line in strength[1:3]] == ["cnn", "gan"]
    assert "p9" in output.err
    assert "passed 4 of 6" in output.err
    assert "again.json is in an earlier file" in output.err
    numbers = json.loads(path.read_text())
    assert numbers["participants"] == ["p0", "p1", "p2"]
    assert numbers["left_out"] == {"p9": {"passed": 4, "of": 6}}
    gan = numbers["rates"]["fooling"]["gan"]
    assert gan == {
        "rate": pytest.approx(2 / 3), "chosen": 2, "trials": 3,
        "low": 0, "high": 1,
    }  # fmt: skip
    assert numbers["strengths"]["gan"]["value"] == -numbers["strengths"]["cnn"]["value"] > 0
    assert numbers["raters"]["p0"]["preference"]["gan"]["chosen"] == 0
    assert numbers["images"]["cats/a.jpg"]["fooling"]["gan"]["chosen"] == 2
    assert numbers["categories"]["dogs"]["preference"]["cnn"]["trials"] == 3
    assert numbers["categories"]["dogs"]["fooling"] == {}


def test_rates_by_rater_and_image_are_printed_on_demand(command, tmp_path, capsys):
    files = [_answers(tmp_path / f"{i}.json", f"p{i}\033[2J", "gan") for i in range(2)]
    assert command("study", "score", *files, "--by", "rater", "--by", "image") == 0
    output = capsys.readouterr().out
    assert "\033" not in output
    by_rater = output.split("taken for the real photograph, by rater")[1].splitlines()
    assert [line.split()[0] for line in by_rater[1:3]] == ["p0\\x1b[2J", "p1\\x1b[2J"]
    by_image = output.split("preferred, by image")[1].splitlines()
    assert by_image[1].split()[:2] == ["cats/a.jpg", "0%"]


def test_no_attentive_participant_is_exit_1(command, tmp_path, capsys):
    file = _answers(tmp_path / "a.json", "p1", "gan", passed=0)
    assert command("study", "score", file) == 1
    assert capsys.readouterr().out == "0 participants, 0 answers\n"
