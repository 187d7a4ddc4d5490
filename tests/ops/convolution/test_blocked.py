"""``blocked`` against ``reference``: shapes, orders of contraction, dtypes and block borders."""

import pytest
import torch

from gridless.ops.convolution import blocks, continuous_conv

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
AGGREGATE, TRANSFORM = True, False

# name -> (arguments of make_case, which order the sizes ask for)
SHAPES = {
    "ragged": ({"counts": [7, 1, 0, 3, 12, 5, 2, 0], "num_sources": 20}, AGGREGATE),
    "uniform": ({"counts": [4] * 10, "num_sources": 10}, AGGREGATE),
    "more sources": ({"counts": [3, 4, 0], "num_sources": 50}, AGGREGATE),
    "no pairs": ({"counts": [0, 0, 0], "num_sources": 4}, AGGREGATE),
    "no sources": ({"counts": [0, 0], "num_sources": 0}, TRANSFORM),
    "no queries": ({"counts": [], "num_sources": 4}, AGGREGATE),
    "no points": ({"counts": [], "num_sources": 0}, AGGREGATE),
    "one point": ({"counts": [1], "num_sources": 1}, AGGREGATE),
    "one source many times": ({"counts": [5, 0, 2], "num_sources": 1}, AGGREGATE),
    "few sources": ({"counts": [1, 2] * 80, "num_sources": 6, "in_channels": 32, "out_channels": 24}, TRANSFORM),
    "few sources, equal rows": (
        {"counts": [2] * 150, "num_sources": 6, "in_channels": 32, "out_channels": 24},
        TRANSFORM,
    ),
    "one channel": ({"counts": [3, 0, 2], "in_channels": 1, "out_channels": 1}, AGGREGATE),
    "three channels": ({"counts": [3, 0, 2], "in_channels": 3, "out_channels": 3}, AGGREGATE),
    "67 channels": ({"counts": [3, 0, 2], "in_channels": 67, "out_channels": 67}, AGGREGATE),
    "1 to 67 channels": ({"counts": [3, 0, 2], "in_channels": 1, "out_channels": 67}, AGGREGATE),
    "one dimension": ({"dim": 1}, AGGREGATE),
    "two dimensions": ({"dim": 2}, AGGREGATE),
    "six dimensions": ({"dim": 6}, AGGREGATE),
}


@pytest.fixture
def chosen(monkeypatch):
    """Every order that was chosen during the test."""
    orders = []
    choose = blocks.Problem.aggregates_first

    def recorded(problem):
        orders.append(choose(problem))
        return orders[-1]

    monkeypatch.setattr(blocks.Problem, "aggregates_first", recorded)
    return orders


def assert_like_reference(case, dtype, assert_same):
    """Against the reference in float64 on the same (rounded) inputs."""
    case = case.to(dtype)
    exact = case.to(torch.float64)
    results = case.results(case.run("blocked"))
    assert_same(results, exact.results(exact.run("reference")), TOLERANCE[dtype])
    return results


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, depthwise, dtype, make_case, chosen, assert_same):
    options, order = SHAPES[name]
    case = make_case(**options, window="gaussian", depthwise=depthwise)
    assert_like_reference(case, dtype, assert_same)
    assert set(chosen) == {AGGREGATE if depthwise else order}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("block_elements", [1, 40, 300])
@pytest.mark.parametrize("order", [AGGREGATE, TRANSFORM], ids=["aggregate", "transform"])
@pytest.mark.parametrize("basis", ["mlp_relu", "fourier", "given"])
@pytest.mark.parametrize("counts", [[9, 0, 2, 30, 5, 1, 1, 0, 4], [6] * 9], ids=["ragged", "uniform"])
def test_both_orders_in_many_blocks_and_rows_longer_than_a_block(
    counts, basis, order, block_elements, dtype, make_case, monkeypatch, assert_same
):
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", block_elements)
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: order)
    case = make_case(counts, 7, basis=basis, window="polynomial", reduce="density")
    assert_like_reference(case, dtype, assert_same)


@pytest.mark.parametrize("order", [AGGREGATE, TRANSFORM], ids=["aggregate", "transform"])
def test_one_basis_function(order, make_case, monkeypatch, assert_same):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: order)
    case = make_case(basis="given")
    narrow = {"basis.0": case.tensors["basis.0"][:, :1], "weight": case.tensors["weight"][:1]}
    case = case.with_tensors(**narrow)
    assert_like_reference(case, torch.float64, assert_same)


@pytest.mark.parametrize("depthwise", [False, True])
def test_duplicates_count_as_often_as_they_come(depthwise, make_case, assert_same):
    case = make_case([4, 2], 6, depthwise=depthwise, window="gaussian")
    case.indices[:] = torch.tensor([0, 0, 1, 1, 5, 5])
    positions = case.tensors["source_positions"].detach().clone()
    positions[1] = positions[0]
    # The second query's support is its own position alone, twice: extent 0.
    queries = torch.stack([case.tensors["query_positions"][0].detach(), positions[5]])
    case = case.with_tensors(source_positions=positions, query_positions=queries)
    results = assert_like_reference(case, torch.float64, assert_same)
    assert all(value.isfinite().all() for value in results.values())


@pytest.mark.parametrize("wanted", ["features", "weight", "source_positions", "basis.2", "window.0", "density"])
@pytest.mark.parametrize("order", [AGGREGATE, TRANSFORM], ids=["aggregate", "transform"])
def test_one_gradient_alone(wanted, order, make_case, monkeypatch, assert_same):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: order)
    case = make_case(window="gaussian", reduce="density")
    for name, tensor in case.tensors.items():
        tensor.requires_grad_(name == wanted)
    expected = case.results(case.run("reference"))
    assert list(expected) == ["output", f"gradient of {wanted}"]
    assert_same(case.results(case.run("blocked")), expected, 1e-12)


@pytest.mark.parametrize("order", [AGGREGATE, TRANSFORM], ids=["aggregate", "transform"])
def test_inputs_that_do_not_lie_contiguously(order, make_case, monkeypatch, assert_same):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: order)
    case = make_case(window="gaussian", extents=True)
    expected = case.results(case.run("reference"))
    strided = {}
    for name, tensor in case.tensors.items():
        spread = torch.full((*tensor.shape, 2), torch.nan, dtype=tensor.dtype)
        spread[..., 0] = tensor.detach()
        strided[name] = spread[..., 0].requires_grad_()
        if tensor.ndim == 2:
            strided[name] = tensor.detach().T.contiguous().T.requires_grad_()
    assert not any(tensor.is_contiguous() for tensor in strided.values() if tensor.numel() > 1 and tensor.ndim > 0)
    case = case.with_tensors(**strided)
    assert_same(case.results(case.run("blocked")), expected, 1e-12)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", ["ragged", "uniform", "few sources"])
@pytest.mark.parametrize("changed", ["features only", "everything"])
def test_bfloat16(changed, name, depthwise, make_case, impl, assert_same):
    case = make_case(**SHAPES[name][0], window="gaussian", depthwise=depthwise).to(torch.float32)
    case = case.to(torch.bfloat16, only={"features"} if changed == "features only" else None)
    results = case.results(case.run(impl))
    for tensor_name, value in results.items():
        of = tensor_name.removeprefix("gradient of ")
        assert value.dtype == (torch.bfloat16 if of == "output" else case.tensors[of].dtype), tensor_name
    if changed == "everything":  # then the positions themselves are rounded
        case = case.with_tensors(source_positions=case.tensors["source_positions"].detach())
        expected = case.results(case.run("reference"))
        results.pop("gradient of source_positions")
    else:
        exact = case.to(torch.float64)
        expected = exact.results(exact.run("reference"))
    assert_same(results, expected, 0.01)


@pytest.mark.parametrize("depthwise", [False, True])
def test_autocast(depthwise, impl, make_case, assert_same):
    case = make_case(counts=[5, 0, 9, 2], depthwise=depthwise, window="gaussian").to(torch.float32)
    exact = case.to(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = case.run(impl)
    assert out.dtype == torch.bfloat16
    results = case.results(out)
    assert {value.dtype for name, value in results.items() if name != "output"} == {torch.float32}
    assert_same(results, exact.results(exact.run("reference")), 0.01)


def test_float16_mean_of_values_whose_sum_overflows(impl):
    """100 pairs of 1000: the sum, 100,000, is not a float16; the mean is."""
    positions = torch.zeros(1, 3)
    features = torch.full((1, 1), 1000.0, dtype=torch.float16)
    rows = torch.zeros(100, dtype=torch.int64), torch.tensor([0, 100])
    phi = torch.ones(100, 1)
    arguments = (features, positions, positions, *rows, torch.ones(1, 1, 1))
    out = continuous_conv(*arguments, basis="given", basis_parameters=[phi], impl=impl)
    assert out.item() == 1000.0
    density = torch.tensor([100_000.0])  # nor is this
    scaled = continuous_conv(
        *arguments, basis="given", basis_parameters=[phi], impl=impl, reduce="density", density=density
    )
    assert abs(scaled.item() - 0.01) < 1e-4
