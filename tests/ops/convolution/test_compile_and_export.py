"""The convolution as one node of a graph: operator checks, torch.compile and torch.export."""

import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

from gridless.native import why_unavailable
from gridless.ops.convolution import available_implementations, continuous_conv
from gridless.ops.convolution.operator import continuous_conv_backward_op, continuous_conv_op
from gridless.ops.extents import _farthest_pair

COUNTS = [3, 2, 0, 5, 4]
NATIVE = pytest.param("native", marks=pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable()))
NO_TRITON = available_implementations()["triton"]
TRITON = pytest.param("triton", marks=pytest.mark.skipif(bool(NO_TRITON), reason=NO_TRITON))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def operator_arguments(case, requires_grad, impl):
    tensors = {name: tensor.detach().requires_grad_(requires_grad) for name, tensor in case.tensors.items()}
    basis = [tensor for name, tensor in tensors.items() if name.startswith("basis.")]
    window = [tensor for name, tensor in tensors.items() if name.startswith("window.")]
    return (
        tensors["features"], tensors["source_positions"], tensors["query_positions"], case.indices, case.offsets,
        tensors["weight"], tensors.get("extents"), basis, window, case.options["basis"], case.options["window"],
        case.options["reduce"] != "sum", impl,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("operator_impl", ["blocked", NATIVE, TRITON])
def test_operator_is_registered_soundly(depthwise, dtype, operator_impl, make_case):
    """Schema, fake implementation, autograd, and equality under AOT autograd with dynamic shapes."""
    case = make_case(COUNTS, window="gaussian", extents=True, depthwise=depthwise).to(dtype)
    torch.library.opcheck(continuous_conv_op.overload, operator_arguments(case, True, operator_impl))


@pytest.mark.parametrize("depthwise", [False, True])
def test_outputs_and_gradients_of_tensors_on_a_gpu_stay_there(depthwise):
    """Without one: what a compiler is told of shapes, dtypes and devices."""
    with FakeTensorMode():

        def tensor(*shape, dtype=torch.float32):
            return torch.empty(*shape, dtype=dtype, device="cuda")

        features, weight = tensor(9, 4, dtype=torch.bfloat16), tensor(5, 4) if depthwise else tensor(5, 4, 6)
        pairs = tensor(11, dtype=torch.int64), tensor(6, dtype=torch.int64)
        basis = [tensor(4, 3), tensor(4)]
        positions = tensor(9, 3), tensor(5, 3)
        arguments = (features, *positions, *pairs, weight, None, basis, [], "mlp_silu", "none", True, "triton")
        out = continuous_conv_op(*arguments)
        gradients = continuous_conv_backward_op(out, *arguments, "features weight basis.0 query_positions")
    assert (out.shape, out.dtype) == ((5, 4 if depthwise else 6), torch.bfloat16)
    for gradient, value in zip(gradients, (features, weight, basis[0], positions[1]), strict=True):
        assert (gradient.shape, gradient.dtype) == (value.shape, value.dtype)
    assert {value.device.type for value in (out, *gradients)} == {"cuda"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("operator_impl", ["blocked", NATIVE, TRITON])
def test_backward_operator_is_registered_soundly(dtype, operator_impl, make_case):
    """``blocked`` without positions and windows: torch.func, which it needs for them, cannot work under opcheck."""
    case = make_case(COUNTS, window="gaussian", extents=True).to(dtype)
    arguments = operator_arguments(case, False, operator_impl)
    grad_out = continuous_conv_op(*arguments)
    wanted = "features weight basis.0 basis.3"
    if operator_impl == "native":
        wanted = f"source_positions query_positions extents {wanted} window.0"
    torch.library.opcheck(continuous_conv_backward_op.overload, (grad_out, *arguments, wanted))


def test_farthest_pair_is_registered_soundly(make_case):
    case = make_case(COUNTS)
    positions = case.tensors["source_positions"].detach(), case.tensors["query_positions"].detach()
    torch.library.opcheck(_farthest_pair.overload, (*positions, case.indices, case.offsets))


@pytest.mark.parametrize(
    ("chosen_impl", "reduce", "window"),
    [
        ("auto", "mean", "none"),
        ("auto", "density", "gaussian"),
        pytest.param("triton", "mean", "gaussian", marks=TRITON.marks),
    ],
)
def test_one_graph_for_all_sizes(chosen_impl, window, reduce, make_case, assert_same):
    """fullgraph=True, forward and backward; new numbers of points and pairs need no new graph."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(continuous_conv, fullgraph=True, dynamic=True, backend=counter)

    def run(case, function):
        tensors = case.tensors
        basis = [tensors[f"basis.{place}"] for place in range(4)]
        out = function(
            tensors["features"], tensors["source_positions"], tensors["query_positions"], case.indices, case.offsets,
            tensors["weight"], basis_parameters=basis, density=tensors.get("density"),
            window_parameters=[tensors["window.0"]] if window == "gaussian" else [], impl=chosen_impl, **case.options,
        )  # fmt: skip
        return case.results(out)

    graphs = []
    # Sizes that are equal by accident would be taken for one size: none here equals another or a number of channels.
    for counts, num_sources in ([3, 0, 1, 4, 2] * 3, 23), ([2] * 19, 24), ([1, 1, 9, 0] * 8, 41):
        case = make_case(counts, num_sources, window=window, reduce=reduce)
        assert_same(run(case, compiled), run(case, continuous_conv), 1e-12)
        graphs.append(counter.frame_count)
    assert graphs == graphs[:1] * 3


class Layer(nn.Module):
    """A convolution and an activation, as a network does it."""

    def __init__(self, case):
        super().__init__()
        names = ["weight", *(name for name in case.tensors if name.startswith(("basis.", "window.")))]
        self.parameters_of_kernel = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(case.tensors[name].detach()) for name in names}
        )

    def forward(self, features, source_positions, query_positions, indices, offsets):
        parameters = self.parameters_of_kernel
        out = continuous_conv(
            features, source_positions, query_positions, indices, offsets, parameters["weight"], basis="mlp_silu",
            basis_parameters=[parameters[f"basis_{place}"] for place in range(4)],
            window="gaussian", window_parameters=[parameters["window_0"]],
        )  # fmt: skip
        return torch.relu(out)


def module_arguments(case):
    tensors = [case.tensors[name].detach() for name in ("features", "source_positions", "query_positions")]
    return (*tensors, case.indices, case.offsets)


def test_export_with_dynamic_numbers_of_points_and_pairs(make_case):
    case = make_case(COUNTS, window="gaussian")
    module = Layer(case)
    num_sources, num_queries, num_pairs = (torch.export.Dim(name) for name in ("N", "M", "E"))
    exported = torch.export.export(
        module,
        module_arguments(case),
        dynamic_shapes=(
            {0: num_sources}, {0: num_sources}, {0: num_queries}, {0: num_pairs}, {0: num_queries + 1}
        ),
    )  # fmt: skip
    assert "gridless.continuous_conv" in exported.graph_module.code
    for counts, num_sources in (COUNTS, 9), ([4, 0, 7, 1], 8), ([2] * 11, 30):
        arguments = module_arguments(make_case(counts, num_sources))
        assert torch.equal(exported.module()(*arguments), module(*arguments))


@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor(make_case, assert_same):
    case = make_case(COUNTS, window="gaussian")
    module = Layer(case)
    compiled = torch.compile(module, fullgraph=True)
    named = dict(module.named_parameters())
    results = []
    for function in (module, compiled):
        out = function(*module_arguments(case))
        gradients = torch.autograd.grad(out.square().sum(), list(named.values()))
        results.append({"output": out} | dict(zip(named, gradients, strict=True)))
    assert_same(results[1], results[0], 1e-12)
