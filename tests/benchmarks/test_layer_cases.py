"""The runner of layer cases on tiny sizes, and its gate."""

import itertools
import time

import pytest
import torch

from benchmarks import contenders
from benchmarks.contender import Contender
from benchmarks.contenders import RIVALS
from benchmarks.gate import DisagreementError, check_agreement
from benchmarks.layer_time import measure_layer
from benchmarks.problem import make_problem
from benchmarks.rivals import plain
from benchmarks.scaling import measure_scaling
from benchmarks.suite import LayerCase, ScalingCase, Sizes
from benchmarks.timing import medians_in_turn

TINY = Sizes(points=60, neighbors=5, in_channels=3, out_channels=4, hidden=(6, 7))


class Rival:
    """A rival made of one function."""

    LABEL = "made up"

    def __init__(self, prepare, needed=0.0):
        self.prepare, self.needed = prepare, needed

    def expected_bytes(self, sizes, passes):
        return self.needed


@pytest.fixture
def add_rival(monkeypatch):
    def add(prepare, needed=0.0):
        monkeypatch.setitem(RIVALS, "made_up", Rival(prepare, needed))

    return add


def measure(against, passes=("forward", "forward + backward")):
    case = LayerCase("tiny", TINY, passes=passes, against=against, repeats=2)
    return {(row.contender, row.passes): row for row in measure_layer("tiny", case)}


@pytest.mark.parametrize("rival", [name for name in RIVALS if name != "open3d"])
def test_rivals_with_our_weights_agree_with_us(rival):
    if rival == "nnconv":
        pytest.importorskip("torch_geometric")
    rows = measure((rival,))
    assert len(rows) == 4
    for row in rows.values():
        assert not row.failed, row.note
        assert row.milliseconds > 0
        assert row.useful_gflops == pytest.approx(TINY.useful_flops(row.passes) / row.milliseconds / 1e6)
    for passes in ("forward", "forward + backward"):
        ours, theirs = rows["auto", passes], rows[rival, passes]
        assert theirs.times_ours == pytest.approx(theirs.milliseconds / ours.milliseconds)
        assert theirs.difference < 1e-4


def test_grid_kernels_run_or_say_why_not():
    row = measure(("open3d",), ("forward",))["open3d", "forward"]
    assert (row.milliseconds is None) == bool(row.note)
    assert row.difference is None
    assert row.part_of_gemm is None


def wrong_output(problem):
    right = plain.prepare(problem)
    return Contender(lambda: right.forward() * 1.001, right.inputs, right.grad_out)


def wrong_gradient(problem):
    """Exact output, but the features' gradient is lost on its way."""
    right = plain.prepare(problem)

    def forward():
        out = right.forward()
        return out.detach() + 0.999 * (out - out.detach())

    return Contender(forward, right.inputs, right.grad_out)


def not_a_number(problem):
    right = plain.prepare(problem)
    return Contender(lambda: right.forward() * torch.nan, right.inputs, right.grad_out)


@pytest.mark.parametrize("prepare", [wrong_output, wrong_gradient, not_a_number])
def test_a_wrong_rival_gets_no_time(prepare, add_rival):
    add_rival(prepare)
    row = measure(("made_up",))["made_up", "forward + backward"]
    assert row.failed
    assert row.milliseconds is None
    assert "differs by" in row.note


def test_a_rival_that_cannot_be_loaded_leaves_its_reason(add_rival):
    def prepare(problem):
        raise ImportError("libmissing.so: cannot open")

    add_rival(prepare)
    row = measure(("made_up",))["made_up", "forward"]
    assert row.note == "ImportError: libmissing.so: cannot open"
    assert row.milliseconds is None
    assert not row.failed


def test_a_rival_that_does_not_fit_is_not_tried(add_rival):
    def prepare(problem):
        raise AssertionError("was tried")

    add_rival(prepare, needed=1e18)
    assert "needs about 931322575 GiB" in measure(("made_up",))["made_up", "forward"].note


def test_gate_compares_names_shapes_and_values():
    expected = {"output": torch.tensor([1.0, -4.0]), "gradient of kernel_layers.0.weight": torch.tensor([2.0])}
    close = {"output": torch.tensor([1.0002, -4.0]), "gradient of kernel_layers.0.weight": torch.tensor([2.02])}
    assert check_agreement(close, expected, 1e-4) == pytest.approx(0.01, rel=1e-3)
    for name, value in (("output", [1.001, -4.0]), ("gradient of kernel_layers.0.weight", [2.1]), ("output", [1.0])):
        with pytest.raises(DisagreementError, match=name):
            check_agreement(close | {name: torch.tensor(value)}, expected, 1e-4)
    with pytest.raises(DisagreementError, match="gives output where"):
        check_agreement({"output": expected["output"]}, expected, 1e-4)


def test_turns_are_taken_until_time_is_over():
    order = []
    medians_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, seconds=60)
    assert order == ["a", "a", "b", "b"] * 3
    order.clear()
    medians_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, seconds=0)
    assert order == ["a", "a", "b", "b"]


def test_first_run_of_a_turn_is_not_timed():
    waits = itertools.cycle([0.05, 0.0])
    medians = medians_in_turn({"a": lambda: time.sleep(next(waits))}, 3, seconds=60)
    assert medians["a"] < 25


def test_uneven_rows_of_the_plain_layer():
    """In a network some clouds have fewer points than K: rows then differ in length."""
    problem = make_problem(TINY)
    rows = problem.neighborhoods
    keep = torch.ones(rows.num_pairs, dtype=torch.bool)
    keep[:7] = False  # the first query has no pair, the second three
    uneven = type(rows)(rows.indices[keep], torch.cat([torch.zeros(1), keep.view(-1, 5).sum(1).cumsum(0)]).long())
    arguments = (problem.features, problem.positions, problem.positions, uneven)
    torch.testing.assert_close(plain.forward(problem.layer, *arguments), problem.layer(*arguments))


def test_scaling_leaves_out_what_would_take_too_long(monkeypatch):
    from benchmarks import scaling

    monkeypatch.setattr(scaling, "probe_memory", lambda row, sizes, passes: row)
    monkeypatch.setattr(scaling, "_LIMIT_SECONDS", 1e-9)
    case = ScalingCase("tiny", "neighbors", (2, 5), TINY, against=("plain",), repeats=1)
    rows = measure_scaling("tiny", case)
    assert [(row.neighbors, row.contender, row.milliseconds is None) for row in rows] == [
        (2, "auto", False), (2, "plain", False), (5, "auto", True), (5, "plain", True),
    ]  # fmt: skip
    assert rows[-1].note.startswith("would take about")


def test_an_implementation_that_cannot_run_leaves_its_reason(monkeypatch):
    monkeypatch.setattr(contenders, "available_implementations", lambda: {"blocked": "no torch here"})
    row = measure(("implementations",), ("forward",))["blocked", "forward"]
    assert row.note == "no torch here"
