"""The compiled pair loop: hostile shapes, every instruction set, the same bits again and again, and bad indices."""

import pytest
import torch

from gridless import native
from gridless.errors import UnsupportedError
from gridless.ops import pair_loop
from gridless.ops.convolution import available_implementations, continuous_conv
from gridless.ops.convolution import native as native_convolution
from gridless.ops.pooling import pool
from gridless.ops.weighted_sum import weighted_sum

pytestmark = pytest.mark.skipif(bool(native.why_unavailable()), reason=native.why_unavailable())
INSTRUCTION_SETS = [] if native.why_unavailable() else native.extension().instruction_sets()
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}
HOSTILE_COUNTS = (0, 1, 7, 130, 0, 64, 65, 1, 0)
SHAPES = {
    "one channel": {"in_channels": 1, "out_channels": 1},
    "three to one": {"in_channels": 3, "out_channels": 1},
    "67 to 3": {"in_channels": 67, "out_channels": 3},
    "17 to 33": {"in_channels": 17, "out_channels": 33},
    "one dimension": {"dim": 1},
    "five dimensions": {"dim": 5},
    "few sources": {"num_sources": 3, "counts": (900, 0, 5, 700)},
    "one source": {"num_sources": 1},
    "one basis function": {"basis": "gaussian_radial"},
    "transform first": {"num_sources": 5, "counts": (3,) * 400, "in_channels": 40, "out_channels": 40},
}


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_hostile_shapes(name, depthwise, dtype, instruction_set, make_case, assert_same, monkeypatch):
    monkeypatch.setattr(native, "instruction_set", lambda: instruction_set)
    settings = {"counts": HOSTILE_COUNTS, "num_sources": 50, "window": "gaussian"} | SHAPES[name]
    exact = make_case(**settings, depthwise=depthwise)
    case = exact.to(dtype)
    assert_same(case.results(case.run("native")), exact.results(exact.run("reference")), TOLERANCE[dtype])


def test_a_row_of_ten_thousand_pairs(make_case, assert_same):
    case = make_case(counts=(1, 10_000, 0, 3), num_sources=300, in_channels=5, out_channels=4)
    assert_same(case.results(case.run("native")), case.results(case.run("reference")), 1e-11)


@pytest.mark.parametrize("basis", ["mlp_relu", "mlp_silu", "mlp_gelu"])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_activations_far_from_zero(dtype, basis, make_case, assert_same):
    exact = make_case(counts=(20,) * 10, num_sources=40, basis=basis)
    far = {name: 30 * exact.tensors[name].detach() for name in ("source_positions", "query_positions")}
    exact = exact.with_tensors(**far).to(torch.float64)
    case = exact.to(dtype)
    assert_same(case.results(case.run("native")), exact.results(exact.run("reference")), TOLERANCE[dtype])


@pytest.mark.parametrize("window", ["none", "gaussian", "polynomial"])
def test_rows_visited_along_a_curve(window, make_case, assert_same, monkeypatch):
    """Forced here, where the points are few: the results go back to the order of the queries."""
    monkeypatch.setattr(native_convolution, "_CACHE_BYTES", 0)
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 9, (300,), generator=generator)
    case = make_case(counts=counts, num_sources=200, window=window, extents=window != "none")
    visited = []
    original = native_convolution._Sweep._visiting_order

    def visiting_order(*arguments):
        visited.append(original(*arguments))
        return visited[-1]

    monkeypatch.setattr(native_convolution._Sweep, "_visiting_order", visiting_order)
    assert_same(case.results(case.run("native")), case.results(case.run("reference")), 1e-11)
    assert visited
    assert all(sorted(order.tolist()) == list(range(300)) for order in visited)


def test_points_in_the_order_of_the_curve_are_near():
    positions = torch.rand(4096, 3, generator=torch.Generator().manual_seed(0))
    order = torch.empty(4096, dtype=torch.int64)
    native.extension().order_along_curve(positions, order)
    steps = positions[order].diff(dim=0).norm(dim=1)
    assert steps.median() < 0.1 < positions.diff(dim=0).norm(dim=1).median()
    native.extension().order_along_curve(torch.full((7, 2), torch.nan), order[:7])
    assert order[:7].tolist() == list(range(7))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", ["67 to 3", "few sources", "transform first"])
def test_threads_that_have_sums_of_their_own_and_threads_that_share_them(
    name, depthwise, threads, make_case, assert_same, monkeypatch
):
    settings = {"counts": HOSTILE_COUNTS, "num_sources": 50, "window": "gaussian"} | SHAPES[name]
    case = make_case(**settings, depthwise=depthwise)
    wanted, before = case.results(case.run("reference")), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for most_copied in (pair_loop._MOST_COPIED, -1):
            monkeypatch.setattr(pair_loop, "_MOST_COPIED", most_copied)
            assert_same(case.results(case.run("native")), wanted, 1e-11)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("most_copied", [pair_loop._MOST_COPIED, -1])
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_same_bits_twenty_times(depthwise, most_copied, make_case, monkeypatch):
    monkeypatch.setattr(pair_loop, "_MOST_COPIED", most_copied)
    case = make_case(counts=(16,) * 500, num_sources=300, window="gaussian", depthwise=depthwise).to(torch.float32)
    first = case.results(case.run("native"))
    for _ in range(19):
        again = case.results(case.run("native"))
        assert all(torch.equal(again[name], value) for name, value in first.items())


def test_depthwise_bits_do_not_depend_on_the_number_of_threads_that_share_sums(make_case, monkeypatch):
    monkeypatch.setattr(pair_loop, "_MOST_COPIED", -1)
    case = make_case(counts=(16,) * 500, num_sources=300, depthwise=True).to(torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(case.results(case.run("native")))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(other[name], value) for other in results[1:] for name, value in results[0].items())


@pytest.mark.parametrize(
    ("indices", "offsets", "message"),
    [
        ([0, 5], [0, 2], r"indices must lie in \[0, 5\)"),
        ([0, -1], [0, 2], r"indices must lie in \[0, 5\)"),
        ([0, 1], [0, 3], "offsets must ascend from 0 to the number of pairs, 2"),
        ([0, 1], [1, 2], "offsets must ascend"),
    ],
)
def test_indices_out_of_range_raise_before_anything_is_read(indices, offsets, message):
    positions = torch.zeros(5, 1)
    with pytest.raises(ValueError, match=f"continuous_conv: {message}"):
        continuous_conv(
            torch.ones(5, 2), positions, torch.zeros(1, 1), torch.tensor(indices), torch.tensor(offsets),
            torch.ones(1, 2, 2), basis="given", basis_parameters=[torch.ones(2, 1)], impl="native",
        )  # fmt: skip


def test_offsets_that_fall_raise():
    with pytest.raises(ValueError, match="offsets must ascend"):
        continuous_conv(
            torch.ones(5, 2), torch.zeros(5, 1), torch.zeros(2, 1), torch.tensor([0, 1]), torch.tensor([0, 3, 2]),
            torch.ones(1, 2, 2), basis="given", basis_parameters=[torch.ones(2, 1)], impl="native",
        )  # fmt: skip


def test_without_compiled_kernels(make_case, assert_same, monkeypatch):
    """Everything works, more slowly; asking for them by name says why not."""
    case = make_case()
    expected = case.results(case.run("native"))
    monkeypatch.setattr(native, "_load", lambda: (None, "no compiler was at hand"))
    assert available_implementations()["native"] == "no compiler was at hand"
    assert_same(case.results(case.run("auto")), expected, 1e-12)
    with pytest.raises(UnsupportedError, match="no compiler was at hand"):
        case.run("native")


def test_an_instruction_set_that_the_machine_lacks(monkeypatch):
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "abacus")
    native.instruction_set.cache_clear()
    with pytest.raises(UnsupportedError, match=r"abacus.*baseline"):
        native.instruction_set()
    native.instruction_set.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 5, 64])
def test_pooling_and_sums_equal_those_of_torch(channels, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor(HOSTILE_COUNTS)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    indices = torch.randint(40, (int(offsets[-1]),), generator=generator)
    features = torch.randn(40, channels, generator=generator).round(decimals=1).to(dtype).requires_grad_()
    weights = torch.rand(len(indices), generator=generator).to(dtype).requires_grad_()

    def results():
        largest, mean = pool(features, indices, offsets, "max"), pool(features, indices, offsets, "mean")
        total = weighted_sum(features, weights, indices, offsets)
        gradients = torch.autograd.grad((mean.square() + total.square() + largest).sum(), [features, weights])
        return [largest, mean, total, *gradients]

    ours = results()
    monkeypatch.setattr(native, "runs_on", lambda values: False)
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 0.05
    for value, expected in zip(ours, results(), strict=True):
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def test_largest_of_nan_and_equal_values():
    features = torch.tensor([[1.0, 5.0], [torch.nan, 5.0], [3.0, 5.0]])
    rows = torch.tensor([0, 2, 1, 2]), torch.tensor([0, 4, 4])
    assert pair_loop.largest_of_rows(features, *rows).tolist() == [[1, 0], [0, 0]]


def both(features, sources, queries, indices, offsets, weight, **options):
    """What the compiled loop makes of it, and the reference."""
    rows = torch.tensor(indices, dtype=torch.int64), torch.tensor(offsets)
    arguments = (features, sources, queries, *rows, weight)
    return [continuous_conv(*arguments, **options, impl=impl) for impl in ("native", "reference")]


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_offsets_as_far_as_numbers_reach(activation, dtype, instruction_set, monkeypatch):
    monkeypatch.setattr(native, "instruction_set", lambda: instruction_set)
    # One unit that sees the offset itself and one that sees its opposite.
    layers = [torch.tensor([[1.0], [-1.0]], dtype=dtype), torch.zeros(2, dtype=dtype)]
    one, weight = torch.ones(1, 1, dtype=dtype), torch.ones(3, 1, 1, dtype=dtype)
    for offset in (0.0, 1.0, 30.0, 1e4, 1e20, 1e30, 1e38):
        query = torch.full((1, 1), offset, dtype=dtype)
        found, expected = both(
            one, 0 * one, query, [0], [0, 1], weight, basis=f"mlp_{activation}", basis_parameters=layers
        )
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)


def test_double_features_see_single_positions_subtracted_as_double():
    generator = torch.Generator().manual_seed(0)
    sources, queries = (torch.rand(count, 3, generator=generator) + 100 for count in (8, 4))
    layers = [torch.randn(5, 3, generator=generator).double(), torch.zeros(5).double()]
    found, expected = both(
        torch.randn(8, 2, generator=generator).double(), sources, queries, list(range(8)), [0, 2, 4, 6, 8],
        torch.randn(6, 2, 2, generator=generator).double(), basis="mlp_silu", basis_parameters=layers,
    )  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depthwise", [False, True])
def test_no_sources_give_zeros(depthwise):
    nothing = torch.zeros(0, 3)
    weight = torch.ones(3, 3) if depthwise else torch.ones(3, 3, 3)
    layers = [torch.ones(2, 3), torch.zeros(2)]
    found, expected = both(
        nothing, nothing, torch.rand(4, 3), [], [0] * 5, weight, basis="mlp_relu", basis_parameters=layers
    )
    assert torch.equal(found, expected)
    assert torch.equal(found, torch.zeros(4, 3))
