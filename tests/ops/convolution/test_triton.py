"""The Triton kernels, in Triton's interpreter: rows of any length, tails of every tile, many blocks, and refusals."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gridless import gpu
from gridless.errors import UnsupportedError
from gridless.ops.convolution import available_implementations, blocked, blocks, triton, triton_blocks
from gridless.ops.convolution import operator as convolution_operator
from gridless.ops.convolution.kernel import Kernel
from gridless.ops.convolution.problem import Problem
from gridless.ops.extents import _farthest_without_blocks

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


def force(monkeypatch, aggregates_first):
    """One order for every sum."""
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: aggregates_first)
    monkeypatch.setattr(triton, "transforms_first", lambda problem, rows_are_queries: not aggregates_first)


def assert_like_reference(exact, dtype, tolerance, assert_same):
    case = exact.to(dtype)
    exact = case.to(torch.float64)
    assert_same(case.results(case.run("triton")), exact.results(exact.run("reference")), tolerance)


@SUMS
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, depthwise, aggregates_first, make_case, assert_same, monkeypatch):
    force(monkeypatch, aggregates_first)
    case = make_case(**SHAPES[name], depthwise=depthwise, window="gaussian")
    assert_like_reference(case, torch.float64, 1e-11, assert_same)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", ["rows beside the tiles", "67 to 3"])
def test_float32(name, depthwise, make_case, assert_same):
    case = make_case(**SHAPES[name], depthwise=depthwise, window="gaussian")
    assert_like_reference(case, torch.float32, 1e-5, assert_same)


@SUMS
@pytest.mark.parametrize("block_numbers", [20, 60])
def test_many_blocks_and_rows_longer_than_a_block(
    depthwise, aggregates_first, block_numbers, make_case, assert_same, monkeypatch
):
    force(monkeypatch, aggregates_first)
    monkeypatch.setattr(triton_blocks, "_BLOCK_NUMBERS", block_numbers)
    monkeypatch.setattr(triton, "_MESSAGES", 1)
    case = make_case((9, 0, 2, 20, 0, 5, 1), 7, window="polynomial", reduce="density", depthwise=depthwise)
    assert_like_reference(case, torch.float64, 1e-11, assert_same)


class NotRun:
    """Stands for a kernel whose tensors hold no numbers."""

    def __getitem__(self, grid):
        return lambda *arguments, **options: None


@SUMS
@pytest.mark.parametrize("basis", ["mlp_silu", "fourier"])
def test_nothing_is_asked_of_the_device(basis, depthwise, aggregates_first, make_case, monkeypatch):
    """What a CUDA graph needs, forward and backward, in many blocks: tensors without numbers have no answer."""
    from gridless.ops.convolution import triton_depthwise, triton_full, triton_messages

    force(monkeypatch, aggregates_first)
    monkeypatch.setattr(triton_blocks, "_BLOCK_NUMBERS", 60)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: pytest.fail("waits for the device"))
    for module in (triton_depthwise, triton_full, triton_messages):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, NotRun())
    case = make_case((9, 0, 20, 5), 7, basis=basis, window="gaussian", depthwise=depthwise)
    with FakeTensorMode():

        def without_numbers(tensor):
            return torch.empty(tensor.shape, dtype=tensor.dtype)

        tensors = {name: without_numbers(value) for name, value in case.tensors.items()}
        rows = without_numbers(case.indices), without_numbers(case.offsets)
        positions = tensors["source_positions"], tensors["query_positions"]
        basis_parameters = tuple(value for name, value in tensors.items() if name.startswith("basis."))
        kernel = Kernel(basis, basis_parameters, "gaussian", (tensors["window.0"],))
        extents = torch.empty(4, dtype=torch.float64)
        problem = Problem(tensors["features"], *positions, *rows, tensors["weight"], kernel, extents, mean=True)
        out = triton.forward(problem)
        gradients = triton.backward(problem, out, set(problem.differentiable()))
        _farthest_without_blocks(*positions, problem.indices, problem.offsets)
    assert gradients.keys() == problem.differentiable().keys()


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
@SUMS
def test_an_infinite_feature_stays_infinite(depthwise, aggregates_first, make_case, monkeypatch):
    """Padding must not multiply it by zero; with terms of one sign alone nothing else makes a NaN of it."""
    force(monkeypatch, aggregates_first)
    case = make_case(depthwise=depthwise, basis="given")
    tensors = {name: case.tensors[name].detach().abs() for name in ("features", "weight", "basis.0")}
    tensors["features"][case.indices[0]] = torch.inf
    case = case.with_tensors(**tensors)
    out, expected = case.run("triton"), case.run("reference")
    assert expected.isinf().any()
    assert torch.equal(out.isinf(), expected.isinf())


@pytest.mark.parametrize(("in_channels", "transforms"), [(100, True), (8, False)])
def test_few_sources_of_many_queries_go_through_the_weights_first(in_channels, transforms, make_case):
    """Where it saves more than messages cost; for the features' gradient the sides change places."""
    case = make_case([1] * 900, 6, in_channels=in_channels, out_channels=8).to(torch.float32)
    tensors = case.tensors
    kernel = Kernel("mlp_silu", tuple(tensors[f"basis.{place}"] for place in range(4)), "none", ())
    positions = tensors["source_positions"], tensors["query_positions"]

    def problem(weight, features, positions, rows):
        return Problem(features, *positions, *rows, weight, kernel, None)

    upsampling = problem(tensors["weight"], tensors["features"], positions, (case.indices, case.offsets))
    assert triton.transforms_first(upsampling, rows_are_queries=True) == transforms
    assert not triton.transforms_first(upsampling, rows_are_queries=False)
    turned = torch.zeros(900, 8), positions[::-1], (torch.zeros(900, dtype=torch.int64), torch.arange(7))
    downsampling = problem(tensors["weight"].transpose(1, 2), *turned)
    assert triton.transforms_first(downsampling, rows_are_queries=False) == transforms
    # Tensor cores multiply more while a message goes through memory.
    assert not triton.transforms_first(replace(upsampling, features=tensors["features"].half()), rows_are_queries=True)


def test_offsets_beyond_32_bits(make_case):
    """A block whose first slot is the 2³³-th."""
    from gridless.ops.convolution import triton_full, triton_phi

    case = make_case((3, 0, 18, 2), 7, basis="given")
    tensors = {name: value.detach() for name, value in case.tensors.items()}
    phi, sums = triton_phi.given(tensors["basis.0"]), []
    for first in (0, 2**33):
        rows = triton_blocks.Rows(case.offsets + first, case.indices, None, first)
        assert torch.equal(rows.slot_rows(), torch.arange(4).repeat_interleave(case.offsets.diff()))
        out = torch.zeros(4, 6, dtype=torch.float64)
        triton_full.row_sums(rows, phi, tensors["features"], tensors["weight"], out, "ieee", mean=True)
        sums.append(out)
    assert sums[0].abs().max() > 0
    assert torch.equal(*sums)


def test_refused_without_a_gpu_and_without_the_interpreter(make_case, monkeypatch):
    case = make_case()
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="impl='triton' cannot run here: no GPU is at hand"):
        case.run("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UnsupportedError, match="the kernels run on NVIDIA's GPUs, the tensors are on cpu"):
        case.run("triton")


def test_refused_where_triton_is_not_installed(make_case, monkeypatch):
    monkeypatch.setattr(gpu, "_installed", lambda: False)
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


@pytest.mark.parametrize(("reason", "expected"), [("", triton), ("Triton is not installed", blocked)])
def test_auto_takes_the_kernels_on_a_gpu(reason, expected, monkeypatch):
    monkeypatch.setattr(gpu, "why_not_on", lambda device: reason)
    on_a_gpu = SimpleNamespace(features=SimpleNamespace(is_cuda=True, device=torch.device("cuda")))
    assert convolution_operator._implementation(on_a_gpu, "auto") is expected


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
