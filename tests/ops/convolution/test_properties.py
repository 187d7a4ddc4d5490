"""What must hold whatever the numbers are."""

import pytest
import torch

from gridless.ops.convolution import blocks, triton

RAGGED, UNIFORM = [5, 0, 1, 7, 3, 2], [4] * 6
KINDS = pytest.mark.parametrize("depthwise", [False, True])
# Depth-wise sums have one order.
SUMS = pytest.mark.parametrize(
    ("depthwise", "order"),
    [(False, True), (False, False), (True, True)],
    ids=["full-aggregate", "full-transform", "depthwise"],
)


def force(monkeypatch, order):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: order)
    monkeypatch.setattr(triton, "transforms_first", lambda problem, rows_are_queries: not order)


def rows_with(case, source):
    counts = case.offsets.diff()
    rows = torch.arange(len(counts)).repeat_interleave(counts)[case.indices == source].unique()
    return torch.isin(torch.arange(len(counts)), rows)


@KINDS
@pytest.mark.parametrize("reduce", ["mean", "sum", "density"])
def test_empty_rows_are_zeros_and_have_no_gradient(reduce, depthwise, impl, make_case):
    case = make_case(RAGGED, reduce=reduce, depthwise=depthwise, window="gaussian", extents=True)
    results = case.results(case.run(impl))
    assert (results["output"][1] == 0).all()
    assert (results["gradient of query_positions"][1] == 0).all()
    assert results["gradient of extents"][1] == 0
    unused = ~torch.isin(torch.arange(9), case.indices)
    assert unused.any()
    for name in ("features", "source_positions") + (("density",) if reduce == "density" else ()):
        assert (results[f"gradient of {name}"][unused] == 0).all(), name
        assert (results[f"gradient of {name}"][~unused] != 0).any(), name


@SUMS
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")  # Triton's interpreter multiplies in numpy
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("counts", [RAGGED, UNIFORM], ids=["ragged", "uniform"])
def test_a_bad_feature_reaches_only_the_rows_that_contain_it(
    counts, bad, depthwise, order, impl, make_case, monkeypatch
):
    force(monkeypatch, order)
    case = make_case(counts, depthwise=depthwise)
    clean = case.run(impl)
    for source in range(0, 9, 4 if impl == "triton" else 1):  # its interpreter is slow
        features = case.tensors["features"].detach().clone()
        features[source] = bad
        out = case.with_tensors(features=features).run(impl)
        touched = rows_with(case, source)
        assert torch.equal(out[~touched], clean[~touched])
        assert not out[touched].isfinite().any()


@SUMS
def test_a_bad_gradient_reaches_only_the_points_of_its_row(depthwise, order, impl, make_case, monkeypatch):
    """Ragged rows are padded to blocks; a pad must not carry a NaN elsewhere in the backward pass either."""
    force(monkeypatch, order)
    case = make_case(RAGGED, depthwise=depthwise, window="gaussian", extents=True)
    for row in (0, 2, 3):
        cotangent = torch.ones(len(RAGGED), 4 if depthwise else 6, dtype=torch.float64)
        cotangent[row] = torch.nan
        names = ["features", "source_positions", "query_positions", "extents"]
        gradients = torch.autograd.grad(case.run(impl), [case.tensors[name] for name in names], cotangent)
        members = torch.isin(torch.arange(9), case.indices[case.offsets[row] : case.offsets[row + 1]])
        own = torch.arange(len(RAGGED)) == row
        for name, gradient, touched in zip(names, gradients, (members, members, own, own), strict=True):
            assert gradient[~touched].isfinite().all(), name
            assert gradient[touched].isnan().any(), name


@KINDS
def test_clouds_of_a_batch_do_not_know_each_other(depthwise, impl, make_case, assert_same):
    first, second = (make_case(counts, depthwise=depthwise, window="gaussian") for counts in (RAGGED, [2, 9, 0, 30]))
    tensors = {
        name: torch.cat([first.tensors[name], second.tensors[name]]).detach().requires_grad_()
        for name in ("features", "source_positions", "query_positions")
    }
    both = first.with_tensors(**tensors)
    both.indices = torch.cat([first.indices, second.indices + 9])
    both.offsets = torch.cat([first.offsets, first.offsets[-1] + second.offsets[1:]])
    alone = first.run(impl)
    out = both.run(impl)
    assert_same({"output": out[:6]}, {"output": alone}, 1e-14)
    gradients = torch.autograd.grad(out[:6].square().sum(), list(tensors.values()))
    expected = torch.autograd.grad(alone.square().sum(), [first.tensors[name] for name in tensors])
    for name, num, gradient, want in zip(tensors, (9, 9, 6), gradients, expected, strict=True):
        assert_same({name: gradient[:num]}, {name: want}, 1e-12)
        assert (gradient[num:] == 0).all(), name


@SUMS
def test_the_order_of_sources_and_of_pairs_does_not_matter(depthwise, order, impl, make_case, monkeypatch, assert_same):
    force(monkeypatch, order)
    case = make_case(RAGGED, depthwise=depthwise, window="gaussian")
    permutation = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    permuted = case.with_tensors(
        **{name: case.tensors[name].detach()[permutation] for name in ("features", "source_positions")}
    )
    permuted.indices = permutation.argsort()[case.indices]
    for begin, end in zip(case.offsets[:-1], case.offsets[1:], strict=True):
        permuted.indices[begin:end] = permuted.indices[begin:end].flip(0)
    assert_same({"output": permuted.run(impl)}, {"output": case.run(impl)}, 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_translation_changes_no_bit(dtype, impl, make_case):
    """Positions and shift are multiples of 1/64, so that their sums are exact."""
    case = make_case(RAGGED, window="gaussian").to(dtype)
    positions = {
        name: (case.tensors[name].detach() * 64).round() / 64 for name in ("source_positions", "query_positions")
    }
    shift = torch.tensor([1024.0, -512.5, 77.25], dtype=dtype)
    moved = {name: value + shift for name, value in positions.items()}
    assert torch.equal(case.with_tensors(**positions).run(impl), case.with_tensors(**moved).run(impl))


def test_far_from_the_origin(impl, make_case, assert_same):
    """UTM coordinates in float64 with features and weights in float32: centimeters count."""
    case = make_case(RAGGED, window="gaussian").to(torch.float32)
    shift = torch.tensor([448_262.37, 5_411_932.61, 112.04], dtype=torch.float64)
    near = {name: 0.05 * case.tensors[name].detach().double() for name in ("source_positions", "query_positions")}
    near = case.with_tensors(**{name: value.requires_grad_() for name, value in near.items()})
    far = near.with_tensors(
        **{
            name: (near.tensors[name].detach() + shift).requires_grad_()
            for name in ("source_positions", "query_positions")
        }
    )
    results = far.results(far.run(impl))
    assert results["output"].dtype == torch.float32
    assert results["gradient of source_positions"].dtype == torch.float64
    # The shift itself rounds positions to 1e-9 m of the 5 cm that the cloud measures.
    assert_same(results, near.results(near.run(impl)), 2e-6)


@SUMS
def test_the_same_bits_every_time(depthwise, order, impl, make_case, monkeypatch):
    force(monkeypatch, order)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 500)
    case = make_case([3, 8, 0, 5] * 10, 30, depthwise=depthwise, window="gaussian").to(torch.float32)
    first = case.results(case.run(impl))
    for _ in range(2 if impl == "triton" else 20):  # its interpreter has one thread, and is slow
        again = case.results(case.run(impl))
        assert all(torch.equal(again[name], value) for name, value in first.items())


def test_the_reference_has_the_same_bits_where_threads_meet_at_few_sources(make_case):
    case = make_case([5000] * 20, 5, in_channels=1, dim=1, depthwise=True, basis="fourier").to(torch.float32)
    moved = [case.tensors[name] for name in ("features", "source_positions")]
    first, *others = (torch.autograd.grad(case.run("reference").sin().sum(), moved) for _ in range(21))
    assert all(torch.equal(*pair) for other in others for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("impl", ["reference", "blocked"])
def test_auto_equals_what_is_asked_for_by_name(impl, make_case, assert_same):
    case = make_case(RAGGED)
    assert_same({"output": case.run("auto")}, {"output": case.run(impl)}, 1e-13)


def test_inputs_are_not_changed(impl, make_case):
    case = make_case(RAGGED, window="gaussian", extents=True, reduce="density")
    before = {name: tensor.detach().clone() for name, tensor in case.tensors.items()}
    case.results(case.run(impl))
    assert all(torch.equal(case.tensors[name], value) for name, value in before.items())


def test_results_of_one_call_survive_the_next(make_case):
    """Buffers are kept between calls; nothing that was returned may lie in one."""
    case = make_case(UNIFORM, basis="given", depthwise=True)
    kept = case.results(case.run())
    copies = {name: value.clone() for name, value in kept.items()}
    other = make_case(UNIFORM, basis="given", depthwise=True, seed=1)
    other.results(other.run())
    assert all(torch.equal(kept[name], value) for name, value in copies.items())
