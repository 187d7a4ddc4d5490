"""The GPU's benchmark on tiny sizes, with the CPU and Triton's interpreter in its place."""

import torch

from benchmarks.gpu import measure, report
from benchmarks.gpu.cases import Layers, Result, load_cases
from benchmarks.gpu.machine import Machine
from benchmarks.rows import read_rows, write_rows
from benchmarks.suite import SearchCase, Sizes, TrainingCase
from gridless.ops.convolution import available_implementations

MACHINE = Machine(torch.device("cpu"), numbers=1000, size=16)


def test_what_is_measured_is_compared_before_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "CONTENDERS", ("triton", "blocked", "plain"))
    layers = Layers((12,), (3,), (4,), (5,), ("float32", "bfloat16"))
    results = list(measure.measure_layers(layers, MACHINE, repeats=1, seconds=0.0))
    assert len(results) == 2 * len(measure.PASSES) * len(measure.CONTENDERS)
    unavailable = available_implementations()["triton"]
    for result in results:
        if result.contender != "triton" or not unavailable:
            assert result.milliseconds > 0, result.note
            assert result.floor_milliseconds > 0
            assert result.difference <= measure.TOLERANCES[result.precision]
    write_rows(tmp_path / "gpu.csv", results, Result)
    back = read_rows(tmp_path / "gpu.csv", Result)
    assert [(r.contender, r.passes, r.points, r.note) for r in back] == [
        (r.contender, r.passes, r.points, r.note) for r in results
    ]


def test_a_wrong_result_is_told_and_not_timed(monkeypatch):
    monkeypatch.setattr(measure, "CONTENDERS", ("blocked",))
    monkeypatch.setitem(measure.TOLERANCES, "float32", -1.0)
    layers = Layers((12,), (3,), (4,), (5,), ("float32",))
    results = list(measure.measure_layers(layers, MACHINE, repeats=1, seconds=0.0))
    assert all(result.failed and result.milliseconds is None and "differs by" in result.note for result in results)


def test_a_case_too_large_for_the_memory_does_not_end_the_run(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(measure, "prepare", full)
    layers = Layers((12,), (3,), (4,), (5,), ("float32",))
    results = list(measure.measure_layers(layers, MACHINE, repeats=1, seconds=0.0))
    assert len(results) == len(measure.PASSES) * len(measure.CONTENDERS)
    assert all("memory" in result.note and not result.failed for result in results)


def test_search_and_training_steps():
    case = SearchCase("tiny", "knn", points=(50,), dims=(2, 3), neighbors=4, repeats=1)
    searched = list(measure.measure_search(case, MACHINE))
    assert [(r.contender, r.dim) for r in searched] == [(c, d) for d in (2, 3) for c in ("grid", "reference")]
    assert all(result.milliseconds > 0 for result in searched)
    training = TrainingCase("tiny", size="small", crops_per_step=1, scene_size=15.0, warm_up=1, steps=1, rounds=1)
    (step,) = measure.measure_steps(training, MACHINE)
    assert step.points_per_second > 0


def test_the_floor_is_the_longer_of_moving_and_multiplying():
    machine = Machine(torch.device("cpu"))
    machine._rates.update(copy=1e9, float32=1e30)
    sizes = Sizes(100, 4, 8, 8, (5,))
    moved = 4 * (100 * 16 + 6 * 64 + 3 * 100) + 8 * 500
    assert abs(machine.floor(sizes, "forward", "float32") - moved / 1e6) < 1e-9
    machine._rates["float32"] = 1e3
    assert machine.floor(sizes, "forward", "float32") == sizes.useful_flops("forward")


def test_every_size_precision_pass_and_rival_is_a_case():
    cases = load_cases()
    found = {(sizes.points, sizes.neighbors, sizes.in_channels, sizes.out_channels, p) for sizes, p in cases.layers}
    assert found == {
        (points, neighbors, channels, channels, precision)
        for points in (16384, 100_000, 1_000_000)
        for neighbors in (16, 32)
        for channels in (32, 64, 256)
        for precision in ("float32", "tf32", "bfloat16")
    }
    assert measure.PASSES == ("forward", "forward + backward")
    assert measure.CONTENDERS == ("triton", "blocked", "nnconv")
    assert cases.search.points == (16384, 100_000, 1_000_000)
    assert cases.training.size == "base"


def test_search_is_compared_with_the_convolution_of_the_same_points():
    layer = Result("layer", "triton", "forward", "float32", 100, 16, 64, milliseconds=2.0, device="X")
    search = Result("search", "grid", points=100, neighbors=16, dim=3, milliseconds=3.0, device="X")
    others = [Result("search", "reference", points=100, neighbors=16, dim=3, milliseconds=9.0, device="X")]
    assert report.search_beside_convolution([layer, search, *others]) == [("100", "16", "64", "1.5")]
    assert "| 100 | 16 | 64 | 1.5 |" in report.section(load_cases(), [layer, search, *others])


def test_goals_are_empty_until_they_are_measured():
    cases = load_cases()
    text = report.section(cases, [])
    assert "No GPU was at hand" in text
    assert text.count("|  |") == len(cases.goals)
    rows = [
        Result("layer", name, "forward + backward", "float32", 100_000, 16, 64, milliseconds=time, device="X")
        for name, time in (("triton", 2.0), ("blocked", 9.0))
    ]
    assert cases.goals[1].value(rows) == 4.5
    assert "| 4.5 |" in report.section(cases, rows)
