from collections import Counter
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_colorize.color import to_lab
from lightning_colorize.common.errors import UsageError
from lightning_colorize.reports.perception.answers import read_answers
from lightning_colorize.reports.perception.score import rates, rates_by
from lightning_colorize.reports.perception.study import (
    BROKEN,
    TRUTH,
    balanced_subset,
    make_plan,
    wrong_colors,
)
from tests.reports.perception.simulated import CHECKS, answered, write_answers


def _plan(systems, categories=("a", "b", "c"), images=60, seed=0, **options):
    names = [categories[i % len(categories)] for i in range(images)]
    questions = ["real", "better"] if systems > 1 else ["real"]
    return make_plan(systems, names, questions, seed, **options)


@settings(max_examples=40)
@given(systems=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_systems_and_sides_are_balanced(systems, seed):
    plan = [trial for trial in _plan(systems, seed=seed) if not trial.check]
    for question in {trial.question for trial in plan}:
        trials = [trial for trial in plan if trial.question == question]
        left, right = Counter(t.left for t in trials), Counter(t.right for t in trials)
        shown = left + right
        assert len({shown[system] for system in range(systems)}) == 1
        assert all(abs(left[system] - right[system]) <= 1 for system in range(systems))
        assert abs(left[TRUTH] - right[TRUTH]) <= 1
        assert (TRUTH in shown) == (question == "real")
        assert BROKEN not in shown


@settings(max_examples=30)
@given(systems=st.integers(1, 8), seed=st.integers(0, 10**6), categories=st.integers(1, 7))
def test_categories_alternate_and_images_are_not_repeated(systems, seed, categories):
    names = [f"c{i}" for i in range(categories)]
    plan = _plan(systems, names, images=20 * categories, seed=seed)
    counts = Counter(names[trial.image % categories] for trial in plan)
    assert len(counts) == categories
    assert max(counts.values()) - min(counts.values()) <= 1
    seen = [trial.image for trial in plan]
    assert len(set(seen)) == min(len(seen), 20 * categories)


def test_each_pair_of_systems_appears_in_both_orders():
    plan = _plan(5)
    pairs = [(t.left, t.right) for t in plan if t.question == "better" and not t.check]
    assert sorted(pairs) == [*permutations(range(5), 2)]


def test_sides_are_independent_of_categories():
    # Two systems and two categories: each category has each order, over some participants.
    trials = [trial for seed in range(8) for trial in _plan(2, ("a", "b"), seed=seed)]
    seen = {(t.question, t.image % 2, t.left) for t in trials if not t.check}
    assert seen == {*product(["real"], (0, 1), (0, 1, TRUTH)), *product(["better"], (0, 1), (0, 1))}


def test_attention_checks_are_spread_over_each_question():
    for seed in range(20):
        plan = _plan(3, seed=seed)
        checks = [index for index, trial in enumerate(plan) if trial.check]
        assert len(checks) == 6
        assert all(BROKEN in plan[index][3:] for index in checks)
        assert {TRUTH in plan[p][3:] for p in checks if plan[p].question == "real"} == {True}
        for start in (0, 27):
            inside = [index - start for index in checks if start <= index < start + 27]
            assert len(inside) == 3
            assert inside[0] < 10
            assert inside[-1] > 16


def test_a_plan_depends_on_its_seed_and_begins_with_either_question():
    assert _plan(4, seed=5) == _plan(4, seed=5)
    assert _plan(4, seed=5) != _plan(4, seed=6)
    assert {_plan(4, seed=seed)[0].question for seed in range(20)} == {"real", "better"}


def test_a_subset_takes_the_same_number_of_each_category():
    names = [f"{c}/{i}" for c, count in (("a", 50), ("b", 50), ("c", 3)) for i in range(count)]
    chosen = balanced_subset(names, lambda name: name[0], 23, seed=0)
    assert Counter(name[0] for name in chosen) == {"a": 10, "b": 10, "c": 3}
    assert chosen != balanced_subset(names, lambda name: name[0], 23, seed=1)
    assert balanced_subset(names, lambda name: name[0], 500, seed=0) == sorted(names)


def test_wrong_colors_are_strong_and_keep_the_lightness():
    rgb = torch.full((3, 32, 32), 120, dtype=torch.uint8)
    broken = wrong_colors(rgb, seed=1)
    L, ab = to_lab(broken[None])
    assert (L - to_lab(rgb[None])[0]).abs().max() < 1.5
    assert ab.norm(dim=1).mean() > 25
    assert len({tuple(ab[0, :, 4 + 8 * i, 4].round().int().tolist()) for i in range(4)}) == 4


def test_rates_match_counts_by_hand(tmp_path):
    first = [
        answered("real", "cnn", "truth", "right"),
        answered("real", "truth", "cnn", "right"),
        answered("real", "gan", "truth", "left", "dogs"),
        answered("better", "cnn", "gan", "right"),
        answered("better", "gan", "cnn", "left", "dogs"),
        *CHECKS,
        answered("real", "truth", "broken", "right", check=True),
    ]
    second = [answered("better", "cnn", "gan", "left"), answered("real", "cnn", "truth", "right")]
    second += CHECKS
    one, two = (tmp_path / f"{number}.json" for number in (1, 2))
    answers = read_answers([write_answers(one, first), write_answers(two, second, "p2")])
    counts = {
        question: {system: (rate.chosen, rate.trials) for system, rate in of.items()}
        for question, of in rates(answers.rated, answers.systems).items()
    }
    assert counts == {
        "real": {"cnn": (1, 3), "gan": (1, 1)},
        "better": {"cnn": (1, 3), "gan": (2, 3)},
    }
    categories, raters = rates_by(answers, "category"), rates_by(answers, "rater", seed=0)
    systems = {name: [*of["real"]] for name, of in categories.items()}
    assert systems == {"cats": ["cnn"], "dogs": ["gan"]}
    assert categories["dogs"]["better"]["gan"].value == 1
    found = {name: of["better"]["cnn"] for name, of in raters.items()}
    assert {name: (r.chosen, r.trials) for name, r in found.items()} == {"p1": (0, 2), "p2": (1, 1)}
    assert all(0 <= rate.low <= rate.value <= rate.high <= 1 for rate in found.values())


def test_a_participant_without_checks_is_inattentive(tmp_path):
    file = write_answers(tmp_path / "1.json", [answered("real", "cnn", "truth", "left")])
    answers = read_answers([file])
    assert answers.counted == []
    assert [person.checks for person in answers.inattentive] == [(0, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "does not contain answers of a study page"),
        ({"version": 2}, "has version 2 of the study, not 1"),
        ({"trials": []}, "is damaged"),
        ({"trials": [answered("real", "cnn", "stranger", "left")]}, "is damaged"),
        ({"trials": [answered("real", "cnn", "truth", "middle")]}, "is damaged"),
        ({"trials": [answered("real", "cnn", "truth", "left", check="no")]}, "is damaged"),
        ({"systems": "cnn"}, "is damaged"),
        ({"systems": []}, "is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, message):
    file = write_answers(tmp_path / "a.json", **changes)
    with pytest.raises(UsageError, match=message):
        read_answers([file])
    file.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        read_answers([file])
    file.unlink()
    with pytest.raises(UsageError, match="No such file"):
        read_answers([file])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page": "y"}, "another study page"),
        ({"systems": ["cnn", "unet"]}, r"2\.json names other systems than .*1\.json"),
    ],
)
def test_answers_to_different_pages_are_not_mixed(tmp_path, changes, message):
    first = write_answers(tmp_path / "1.json")
    second = write_answers(tmp_path / "2.json", participant="p2", **changes)
    with pytest.raises(UsageError, match=message):
        read_answers([first, second])
