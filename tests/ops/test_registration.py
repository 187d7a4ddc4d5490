"""Operators run without torch's compiler and are not looked into by it."""

import subprocess
import sys

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
