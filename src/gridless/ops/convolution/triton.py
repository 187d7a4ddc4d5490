"""The same sum in Triton, on GPUs.

    out_r = Σ_hc P_rhc W_hc ,  P_rhc = Σ_e φ_eh v_jc        ∂W = Pᵀ g ,  ∂φ_eh = Σ_c v_jc T_rhc ,  T = g Wᵀ

as in ``blocked``, but P and T are never written to memory. The gradient of the features is the first of these sums once
more, over rows of sources, with g for v: no two programs add to one number. The kernels evaluate networks of one or two
layers themselves; φ of other bases, and what is behind ∂φ, is torch's, block by block. Without a GPU the kernels run in
Triton's interpreter, where the environment says TRITON_INTERPRET=1.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import PullBack, add_rows, phi_and_pull_back
from gridless.ops.convolution.triton_blocks import RowBlock, blocks
from gridless.ops.dtypes import compute_dtype

if TYPE_CHECKING:
    from gridless.ops.convolution.triton_phi import Phi

_INTERPRET = "TRITON_INTERPRET"
# The oldest GPUs that the kernels are compiled for in tests.
_OLDEST_CAPABILITY = (8, 0)


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    return os.environ.get(_INTERPRET) == "1"


def why_unavailable() -> str:
    """Why no kernel can run on this machine; "" where one can."""
    if not _installed():
        return "Triton is not installed: pip install 'gridless[gpu]'"
    if torch.cuda.is_available() or _interpreted():
        return ""
    return f"no GPU is at hand ({_INTERPRET}=1, set before the start, runs the kernels on the CPU, for tests)"


def why_not(problem: Problem) -> str:
    """Why this problem cannot be computed here; "" where it can."""
    device = problem.features.device
    if reason := why_unavailable():
        return reason
    if device.type == "cpu" and _interpreted():
        return ""
    if device.type != "cuda" or torch.version.hip:
        return f"the kernels run on NVIDIA's GPUs, the features are on {device}"
    return why_not_on(device)


def why_not_on(gpu: torch.device) -> str:
    """Why the kernels cannot run on one of NVIDIA's GPUs; "" where they can."""
    if torch.cuda.get_device_capability(gpu) < _OLDEST_CAPABILITY:
        return f"the kernels need compute capability {_OLDEST_CAPABILITY[0]}.{_OLDEST_CAPABILITY[1]} or newer"
    return ""


def forward(problem: Problem) -> Tensor:
    """Σ_{j in N(i)} g(x_i - y_j) f_j, [M, C_out] in ``compute_dtype`` of the features."""
    kernels, precision = _kernels(problem), _precision(problem)
    features = problem.features.contiguous()
    shape = (problem.query_positions.shape[0], problem.weight.shape[-1])
    out = features.new_zeros(shape, dtype=compute_dtype(features))
    weight = _weight(problem, rows_are_queries=True)
    with torch.cuda.device_of(features):  # Triton launches on the current device
        for block in blocks(problem, True, phi_in_memory=not _evaluates_phi(problem, [])):
            phi, _ = _phi_and_pull_back(problem, block, [])
            kernels.row_sums(block, phi, features, weight, out[block.rows], precision)
    return out


def backward(problem: Problem, grad_out: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    """∂F/∂ each wanted tensor of ``problem.differentiable()``, by name and in its dtype, for g = ``grad_out``."""
    kernels, precision = _kernels(problem), _precision(problem)
    dtype = compute_dtype(problem.features)
    tensors = problem.differentiable()
    device = problem.features.device
    totals = {name: torch.zeros(tensors[name].shape, dtype=dtype, device=device) for name in tensors if name in wanted}
    behind_phi = [name for name in totals if name not in ("features", "weight")]
    features, grad_out = (values.to(_product_dtype(problem)).contiguous() for values in (problem.features, grad_out))
    cheaper_side = problem.aggregates_first()
    with torch.cuda.device_of(features):  # Triton launches on the current device
        for rows_are_queries in (True, False):
            wants_features = "features" in totals and not rows_are_queries
            wants_others = totals.keys() != {"features"} and rows_are_queries == cheaper_side
            if not (wants_features or wants_others):
                continue
            weight = _weight(problem, rows_are_queries)
            rows, columns = (grad_out, features) if rows_are_queries else (features, grad_out)
            behind = behind_phi if wants_others else []
            for block in blocks(problem, rows_are_queries, phi_in_memory=not _evaluates_phi(problem, behind)):
                phi, pull_back = _phi_and_pull_back(problem, block, behind)
                block_rows = rows[block.rows]
                if wants_features:
                    kernels.row_sums(block, phi, columns, weight, totals["features"][block.rows], precision)
                if wants_others and "weight" in totals:
                    gradient = kernels.weight_gradient(block, phi, columns, block_rows, precision)
                    turned = not (rows_are_queries or problem.depthwise)
                    totals["weight"] += gradient.transpose(1, 2) if turned else gradient
                if wants_others and behind_phi:
                    grad_phi = kernels.phi_gradient(block, columns, block_rows, weight, dtype, precision)
                    add_rows(totals, pull_back(grad_phi), block, problem.kernel.basis)
    return {name: total.to(tensors[name].dtype) for name, total in totals.items()}


def _kernels(problem: Problem) -> ModuleType:
    """The kernels for this problem, imported where they are used: they need Triton."""
    return importlib.import_module(f"{__package__}.{'triton_depthwise' if problem.depthwise else 'triton_full'}")


def _evaluates_phi(problem: Problem, behind_phi: list[str]) -> bool:
    """Whether the kernels evaluate φ; where a gradient behind it is wanted, it comes from torch."""
    from gridless.ops.convolution import triton_phi

    return not behind_phi and triton_phi.can_evaluate(problem)


def _phi_and_pull_back(problem: Problem, block: RowBlock, behind_phi: list[str]) -> tuple[Phi, PullBack]:
    """φ as the kernels take it, and what pulls ∂F/∂φ back."""
    from gridless.ops.convolution import triton_phi

    if _evaluates_phi(problem, behind_phi):
        return triton_phi.evaluated(problem, block), lambda _: {}
    phi, pull_back = phi_and_pull_back(problem, block, behind_phi)
    return triton_phi.given(phi), pull_back


def _product_dtype(problem: Problem) -> torch.dtype:
    """In what products are taken."""
    features = problem.features
    # P, a sum over a whole support, can exceed float16; Triton's interpreter takes the bits of bfloat16 for integers.
    widened = features.dtype == torch.float16 or (features.dtype == torch.bfloat16 and _interpreted())
    return torch.float32 if widened else features.dtype


def _precision(problem: Problem) -> str:
    """How tensor cores take products of float32: TF32 keeps as many digits as float16 has."""
    if problem.features.dtype == torch.float16 or torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    return "ieee"


def _weight(problem: Problem, rows_are_queries: bool) -> Tensor:
    """W [H, C_col, C_row] or [H, C] in the dtype of products."""
    dtype = _product_dtype(problem)
    if problem.depthwise:
        return problem.weight.to(dtype).contiguous()
    return problem.weight_from_columns(rows_are_queries, dtype)
