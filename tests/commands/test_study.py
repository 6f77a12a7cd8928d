import json
import signal
import socket
import sys

import pytest
from scipy.special import expit

from lightning_colorize.reports.perception.page import read_page
from lightning_colorize.reports.perception.server import StudyServer
from lightning_colorize.reports.perception.store import AnswerStore
from tests.reports.perception.simulated import answered, write_answers, write_page


@pytest.fixture(autouse=True)
def own_handler():
    """`study serve` sets a handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
    strength = numbers["strengths"]["gan"]["value"]
    assert strength == -numbers["strengths"]["cnn"]["value"]
    # Two wins of three, and half a win and half a loss against an opponent of strength 0.
    assert pytest.approx(3 * expit(2 * strength) + expit(strength)) == 2 + 0.5
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


def test_power_is_that_of_the_textbook_for_independent_answers(command, capsys):
    words = ["--rater-correlation", 0, "--image-correlation", 0]
    assert command("study", "power", "--raters", 29, "--pairs", 27, *words) == 0
    output = capsys.readouterr().out
    assert "783 answers on 60 images; design effect 1.00: 783 independent answers" in output
    assert "power to detect a preference of 55.0% (two-sided, 5 %): 80%" in output
    assert "smallest preference detected with a power of 80 %: 55.0%" in output
    needs = [line.split()[-1] for line in output.splitlines()[-3:]]
    assert needs == ["29", "27", "1"]  # raters, pairs, images


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((40, "--pairs", 8, "--images", 12), "raters, if all else stays: no number is enough"),
        (
            (20, "--pairs", 8, "--rater-correlation", 0.3, "--image-correlation", 0.7),
            "160 answers",
        ),
    ],
)
def test_power_of_correlated_answers(command, capsys, words, expected):
    assert command("study", "power", "--raters", *words) == 0
    assert expected in capsys.readouterr().out


def test_export_without_answers_is_exit_1(command, tmp_path, capsys):
    write_page(tmp_path / "page", images=2)
    page = read_page(tmp_path / "page")
    AnswerStore.serving(tmp_path / "a.sqlite", page, None, "text").close()
    assert command("study", "export", tmp_path / "a.sqlite", tmp_path / "out") == 1
    assert "answers of 0 raters" in capsys.readouterr().out


def test_a_taken_port_is_one_line(command, tmp_path, capsys):
    write_page(tmp_path / "page", images=2)
    words = ["serve", tmp_path / "page", "--answers", tmp_path / "a.sqlite"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert command("study", *words, "--port", port) == 2
    assert f"--host 127.0.0.1 --port {port}: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), ["127.0.0.1", "localhost"]),
        (("--url", "https://a.example"), ["127.0.0.1", "localhost", "a.example"]),
        (("--host", "0.0.0.0"), ["*"]),
    ],
)
def test_the_names_that_are_answered(command, tmp_path, monkeypatch, words, names):
    def end(server, sockets):
        assert server.config.app.user_middleware[-1].args == (names,)
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "run", end)
    write_page(tmp_path / "page", images=2)
    words = ["--answers", tmp_path / "a.sqlite", "--port", 0, *words]
    assert command("study", "serve", tmp_path / "page", *words) == 130


def test_a_missing_web_server_names_the_extra(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, StudyServer.__module__)
    write_page(tmp_path / "page", images=2)
    assert command("study", "serve", tmp_path / "page", "--answers", tmp_path / "a.sqlite") == 2
    message = "the server needs uvicorn: pip install '.[study]' in the clone"
    assert message in capsys.readouterr().err


def test_no_attentive_participant_is_exit_1(command, tmp_path, capsys):
    file = _answers(tmp_path / "a.json", "p1", "gan", passed=0)
    assert command("study", "score", file) == 1
    assert capsys.readouterr().out == "0 participants, 0 answers\n"
