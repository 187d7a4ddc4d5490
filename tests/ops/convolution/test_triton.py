"""The Triton kernels, in Triton's interpreter: rows of any length, tails of every tile, many blocks, and refusals."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from gridless.errors import UnsupportedError
from gridless.ops.convolution import available_implementations, blocks, triton, triton_blocks
from gridless.ops.convolution import operator as convolution_operator

REASON = available_implementations()["triton"]
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
SHAPES = {
    "no pairs": {"counts": [0, 0, 0], "num_sources": 4},
    "no sources": {"counts": [0, 0], "num_sources": 0},
    "no queries": {"counts": [], "num_sources": 4},
    "one pair": {"counts": [1], "num_sources": 1},
    "rows beside the tiles": {"counts": (0, 1, 7, 16, 17, 0, 33, 15) + (2,) * 9, "num_sources": 40},
    "one channel": {"in_channels": 1, "out_channels": 1},
    "67 to 3": {"in_channels": 67, "out_channels": 3},
    "17 to 65": {"in_channels": 17, "out_channels": 65},
    "one basis function": {"basis": "given", "counts": [3, 2], "in_channels": 33},
    "eight basis functions": {"basis": "spline_linear", "counts": [20, 2]},
    "few sources": {"counts": (40, 0, 5, 30), "num_sources": 3},
    "one dimension": {"dim": 1},
    "five dimensions": {"dim": 5},
}
# Depth-wise sums have one order.
SUMS = pytest.mark.parametrize(
    ("depthwise", "aggregates_first"),
    [(False, True), (False, False), (True, True)],
    ids=["full-aggregate", "full-transform", "depthwise"],
)


def assert_like_reference(exact, dtype, tolerance, assert_same):
    case = exact.to(dtype)
    exact = case.to(torch.float64)
    assert_same(case.results(case.run("triton")), exact.results(exact.run("reference")), tolerance)


@SUMS
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, depthwise, aggregates_first, make_case, assert_same, monkeypatch):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: aggregates_first)
    case = make_case(**SHAPES[name], depthwise=depthwise, window="gaussian")
    assert_like_reference(case, torch.float64, 1e-11, assert_same)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", ["rows beside the tiles", "67 to 3"])
def test_float32(name, depthwise, make_case, assert_same):
    case = make_case(**SHAPES[name], depthwise=depthwise, window="gaussian")
    assert_like_reference(case, torch.float32, 1e-5, assert_same)


@SUMS
@pytest.mark.parametrize("block_numbers", [1, 60])
def test_many_blocks_and_rows_longer_than_a_block(
    depthwise, aggregates_first, block_numbers, make_case, assert_same, monkeypatch
):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: aggregates_first)
    monkeypatch.setattr(triton_blocks, "_BLOCK_NUMBERS", block_numbers)
    monkeypatch.setattr(triton_blocks, "_BLOCK_SLOTS", block_numbers // 4 + 1)
    case = make_case((9, 0, 2, 20, 0, 5, 1), 7, window="polynomial", reduce="density", depthwise=depthwise)
    assert_like_reference(case, torch.float64, 1e-11, assert_same)


def test_the_forward_pass_asks_the_device_for_nothing(make_case, monkeypatch):
    """φ evaluated by the kernels is not in memory, so blocks need not be cut by the lengths of the rows."""
    case = make_case((9, 0, 20, 5), 7).to(torch.float32)
    expected = case.run("triton")
    monkeypatch.setattr(triton_blocks, "_BLOCK_NUMBERS", 1)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: pytest.fail("waits for the device"))
    assert torch.equal(case.run("triton"), expected)


@pytest.mark.parametrize("depthwise", [False, True])
def test_sums_of_weights_taken_in_parts(depthwise, make_case, assert_same):
    """Enough rows that gradients of W are summed by several programs."""
    case = make_case((3, 0, 2) * 70, 50, depthwise=depthwise, basis="given")
    assert_like_reference(case, torch.float64, 1e-11, assert_same)


@pytest.mark.parametrize(
    ("basis", "hidden", "in_the_kernels"),
    [
        ("mlp_relu", (20,), True),
        ("mlp_relu", (18, 5), True),
        ("mlp_gelu", (20,), True),
        ("mlp_gelu", (18, 5), True),
        ("mlp_silu", (3,), True),
        ("mlp_silu", (64, 33), True),
        ("mlp_silu", (2, 64), True),
        ("mlp_silu", (65, 4), False),
        ("mlp_silu", (4, 4, 4), False),
    ],
)
def test_networks(hidden, in_the_kernels, basis, make_case, assert_same, monkeypatch):
    from gridless.ops.convolution import triton_phi

    calls = []
    evaluated = triton_phi.evaluated
    monkeypatch.setattr(triton_phi, "evaluated", lambda *arguments: calls.append(1) or evaluated(*arguments))
    case = make_case((3, 0, 18, 2), window="gaussian")
    generator = torch.Generator().manual_seed(1)
    tensors = {name: tensor for name, tensor in case.tensors.items() if not name.startswith("basis.")}
    shape = (hidden[-1] + 1, *case.tensors["weight"].shape[1:])
    tensors["weight"] = torch.randn(shape, generator=generator, dtype=torch.float64)
    for place, (fan_in, fan_out) in enumerate(pairwise((3, *hidden))):
        for part, size in enumerate([(fan_out, fan_in), (fan_out,)]):
            tensors[f"basis.{2 * place + part}"] = torch.randn(size, generator=generator, dtype=torch.float64)
    case = replace(case, tensors=tensors, options=case.options | {"basis": basis})
    assert_like_reference(case, torch.float64, 1e-11, assert_same)
    assert bool(calls) == in_the_kernels


def test_a_row_of_a_thousand_pairs(make_case, assert_same):
    case = make_case(counts=(1, 1000, 0, 3), num_sources=300, in_channels=5, out_channels=4, basis="given")
    for name in case.tensors:  # those alone, because the interpreter is slow
        case.tensors[name].requires_grad_(name in ("features", "weight"))
    expected = case.results(case.run("reference"))
    assert_same(case.results(case.run("triton")), expected, 1e-11)


def test_float16_is_multiplied_in_float32(make_case, assert_same):
    exact = make_case((30, 0, 3), window="gaussian").to(torch.float32)
    case = exact.to(torch.float16, only={"features"})
    exact = case.to(torch.float64)
    assert_same(case.results(case.run("triton")), exact.results(exact.run("reference")), 0.002)


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")  # the interpreter multiplies in numpy
@pytest.mark.parametrize("depthwise", [False, True])
def test_an_infinite_feature_stays_infinite(depthwise, make_case):
    """Padding must not multiply it by zero; with terms of one sign alone nothing else makes a NaN of it."""
    case = make_case(depthwise=depthwise, basis="given")
    tensors = {name: case.tensors[name].detach().abs() for name in ("features", "weight", "basis.0")}
    tensors["features"][case.indices[0]] = torch.inf
    case = case.with_tensors(**tensors)
    out, expected = case.run("triton"), case.run("reference")
    assert expected.isinf().any()
    assert torch.equal(out.isinf(), expected.isinf())


def test_refused_without_a_gpu_and_without_the_interpreter(make_case, monkeypatch):
    case = make_case()
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="impl='triton' cannot run here: no GPU is at hand"):
        case.run("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UnsupportedError, match="the kernels run on NVIDIA's GPUs, the features are on cpu"):
        case.run("triton")


def test_refused_where_triton_is_not_installed(make_case, monkeypatch):
    monkeypatch.setattr(triton, "_installed", lambda: False)
    assert "pip install 'gridless[gpu]'" in available_implementations()["triton"]
    with pytest.raises(UnsupportedError, match="Triton is not installed"):
        make_case().run("triton")


def test_auto_never_takes_the_interpreter(make_case, monkeypatch):
    chosen = []
    choose = convolution_operator._implementation
    monkeypatch.setattr(
        convolution_operator, "_implementation", lambda *arguments: chosen.append(choose(*arguments)) or chosen[-1]
    )
    make_case().run("auto")
    assert triton not in chosen
    assert chosen


def test_second_order_is_computed_by_torch_and_says_so_once(make_case, assert_same, caplog):
    convolution_operator._tell_of_second_order.cache_clear()

    def second(impl):
        case = make_case((3, 0, 2), 4)
        (first,) = torch.autograd.grad(case.run(impl).square().sum(), case.tensors["features"], create_graph=True)
        names = ("features", "weight", "query_positions")
        found = torch.autograd.grad(first.square().sum(), [case.tensors[name] for name in names])
        return dict(zip(names, found, strict=True))

    assert_same(second("triton"), second("blocked"), 1e-11)
    second("triton")
    assert [record.message for record in caplog.records] == [
        "continuous_conv: second derivatives have no Triton kernels; torch operations compute them, block by block"
    ]
