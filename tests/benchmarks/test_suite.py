"""The cases as data and the count of useful work."""

import pytest
import yaml

from benchmarks.contenders import contender_names
from benchmarks.suite import MemoryCase, Sizes, load_suite
from gridless.errors import RecipeError
from gridless.ops.convolution import available_implementations


def test_every_goal_finds_its_row():
    """A goal whose case does not measure its contender or pass would stay "not measured" for ever."""
    suite = load_suite()
    assert suite.goals
    for goal in suite.goals:
        case = suite.cases[goal.case]
        assert goal.contender in contender_names(case.against), goal.figure
        assert goal.passes in getattr(case, "passes", ("step",)), goal.figure
        assert goal.column in ("peak_megabytes", "process_megabytes") or not isinstance(case, MemoryCase), goal.figure


def test_implementations_are_listed_not_named():
    names = contender_names(("implementations", "plain"))
    assert names[0] == "auto"
    assert names[-1] == "plain"
    assert set(names[1:-1]) == set(available_implementations()) - {"reference"}
    with pytest.raises(ValueError, match=r"no contender 'plane'; known: .*plain"):
        contender_names(("plane",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: {a: {title: A, against: [plain], pases: [forward]}}", "layers.a: unknown key 'pases'"),
        ("goals: [{figure: f, case: nowhere, column: times_ours}]", "names the case 'nowhere'"),
    ],
)
def test_mistakes_in_the_cases_are_named(text, message, tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(text)))
    with pytest.raises(RecipeError, match=message):
        load_suite(path)


def test_useful_work_of_the_formula():
    """262,144 pairs, 33 · 64 multiply-adds each; 16,384 points, 33 · 64 · 64 each; 3 · 16 + 16 · 32 in the MLP."""
    multiply_adds = 262_144 * 33 * 64 + 16_384 * 33 * 64 * 64 + 262_144 * (3 * 16 + 16 * 32)
    assert Sizes().useful_flops("forward") == 2 * multiply_adds
    assert Sizes().useful_flops("forward + backward") == 6 * multiply_adds


def test_useful_work_takes_the_cheaper_order():
    """From 8 to 2 channels it pays to transform the sources first; the other way round it does not."""
    narrowing = Sizes(10, 4, in_channels=8, out_channels=2, hidden=(5,))
    widening = Sizes(10, 4, in_channels=2, out_channels=8, hidden=(5,))
    expected = 2 * (10 * 6 * 16 + 40 * 6 * 2 + 40 * 3 * 5)
    assert narrowing.useful_flops("forward") == widening.useful_flops("forward") == expected
