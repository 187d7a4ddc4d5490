"""Operators run without torch's compiler and are not looked into by it."""

import subprocess
import sys
import threading

import pytest
import torch

import gridless as gl
from gridless.errors import UnsupportedError
from gridless.ops.pooling import pool
from gridless.ops.registration import Operator, operator

RUN = """
import sys, torch, gridless as gl
points = torch.rand(50, 3)
layer = gl.nn.ContinuousConv(3, 4, dim=3)
out = layer(torch.rand(50, 3), points, points, gl.knn(points, points, 8))
out.sum().backward()
sys.exit("torch._dynamo" in sys.modules)
"""


def test_a_layer_does_not_load_the_compiler():
    assert subprocess.run([sys.executable, "-c", RUN], check=False).returncode == 0


def test_a_compiled_function_runs_an_operator_as_it_is():
    seen = []

    @operator("counted_double")
    def double(values: torch.Tensor) -> torch.Tensor:
        """Twice the values."""
        seen.append(torch.compiler.is_compiling())
        return 2 * values

    double.register_fake(torch.empty_like)
    assert isinstance(double, Operator)
    assert double.__doc__ == "Twice the values."
    compiled = torch.compile(lambda values: double(values) + 1, fullgraph=True, backend="eager")
    assert compiled(torch.ones(2)).tolist() == [3.0, 3.0]
    assert seen == [False]
    torch.library.opcheck(double.overload, (torch.ones(2),))


def test_forward_derivatives_are_refused_rather_than_zero():
    points = torch.rand(20, 3)
    layer, rows = gl.nn.ContinuousConv(2, 4, dim=3), gl.knn(points, points, 4)
    features = torch.rand(20, 2)
    with pytest.raises(UnsupportedError, match="no forward derivatives"):
        torch.func.jvp(lambda values: layer(values, points, points, rows), (features,), (torch.ones(20, 2),))
    with pytest.raises(UnsupportedError, match="no forward derivatives"):
        torch.func.jacfwd(lambda values: pool(values, rows.indices, rows.offsets, "mean"))(features)


def test_gradients_by_torch_func():
    points = torch.rand(20, 3)
    layer, rows = gl.nn.ContinuousConv(2, 4, dim=3), gl.knn(points, points, 4)
    features, parameters = torch.rand(20, 2), dict(layer.named_parameters())

    def loss(parameters, features):
        out = torch.func.functional_call(layer, parameters, (features, points, points, rows))
        return pool(out, rows.indices, rows.offsets, "mean").square().sum()

    gradients, of_features = torch.func.grad(loss, argnums=(0, 1))(parameters, features)
    features.requires_grad_()
    expected = torch.autograd.grad(loss(parameters, features), [*parameters.values(), features])
    for got, wanted in zip([*gradients.values(), of_features], expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_one_graph_differentiated_by_several_threads():
    points = torch.rand(200, 3)
    layer, rows = gl.nn.ContinuousConv(4, 4, dim=3), gl.knn(points, points, 8)
    out = layer(torch.rand(200, 4), points, points, rows)
    expected = torch.autograd.grad(out.sum(), layer.weight, retain_graph=True)[0]
    equal = []

    def differentiate():
        for _ in range(30):
            equal.append(torch.equal(torch.autograd.grad(out.sum(), layer.weight, retain_graph=True)[0], expected))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=differentiate) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert equal == [True] * 120


def test_nodes_of_the_graph_are_named_after_their_operator():
    features = torch.rand(4, 2, requires_grad=True)
    out = pool(features, torch.arange(4), torch.tensor([0, 4]), "mean")
    assert out.grad_fn.name() == "gridless_weighted_sumBackward"


def test_operators_with_gradients_take_no_defaults():
    @operator("with_a_default")
    def scaled(values: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        """Values times a factor."""
        return values * factor

    with pytest.raises(UnsupportedError, match="without defaults"):
        scaled.register_autograd(lambda ctx, grad: (grad, None), setup_context=lambda ctx, inputs, output: None)


DEVICE = """
import torch, gridless as gl
with torch.device("meta"):
    gl.nn.ContinuousConv
from gridless.ops.pooling import pool
assert pool(torch.ones(4, 2), torch.arange(4), torch.tensor([0, 4]), "mean").tolist() == [[1.0, 1.0]]
"""


def test_the_default_device_at_the_first_import_does_not_matter():
    assert subprocess.run([sys.executable, "-c", DEVICE], check=False).returncode == 0
