"""The same sum in Triton, on GPUs.

    out_r = Σ_hc P_rhc W_hc ,  P_rhc = Σ_e φ_eh v_jc        ∂W = Pᵀ g ,  ∂φ_eh = Σ_c v_jc T_rhc ,  T = g Wᵀ

as in ``blocked``, but P and T are never written to memory. The gradient of the features is the first of these sums once
more, over rows of sources, with g for v: no two programs add to one number. Where few columns feed many rows each
column's values go through W first (``triton_messages``). The kernels evaluate networks of one or two layers and windows
themselves; φ of other bases, and what is behind ∂φ, is torch's, block by block. Without a GPU the kernels run in
Triton's interpreter, where the environment says TRITON_INTERPRET=1.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gridless import gpu
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import PullBack, Slots, add_rows, phi_and_pull_back
from gridless.ops.convolution.triton_blocks import Rows, blocks, whole
from gridless.ops.dtypes import compute_dtype

if TYPE_CHECKING:
    from gridless.ops.convolution.triton_phi import Phi

# Numbers of the messages that are in memory at a time.
_MESSAGES = 2**25
# What an H100 multiplies, by its data sheet, while it writes and reads one number of a message.
_MESSAGE_MULTIPLY_ADDS = {
    (torch.float64, "ieee"): 80,
    (torch.float64, "tf32"): 80,
    (torch.float32, "ieee"): 80,
    (torch.float32, "tf32"): 600,
    (torch.bfloat16, "ieee"): 1200,
    (torch.bfloat16, "tf32"): 1200,
}


def why_not(problem: Problem) -> str:
    """Why this problem cannot be computed here; "" where it can."""
    return gpu.why_not_on(problem.features.device)


def forward(problem: Problem) -> Tensor:
    """Σ_{j in N(i)} g(x_i - y_j) f_j, or the mean, [M, C_out] in the dtype of the features or of ``compute_dtype``."""
    features = problem.features.contiguous()
    # Rounded once: not where sums are added up block by block. Triton's interpreter cannot write bfloat16.
    rounds = _evaluates_phi(problem) and not (features.dtype == torch.bfloat16 and gpu.interpreted())
    dtype = features.dtype if rounds else compute_dtype(features)
    out = features.new_zeros((problem.query_positions.shape[0], problem.weight.shape[-1]), dtype=dtype)
    with torch.cuda.device_of(features):  # Triton launches on the current device
        _sum_to_rows(problem, True, features, out, problem.mean)
    return out


def backward(problem: Problem, grad_out: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    """∂F/∂ each wanted tensor of ``problem.differentiable()``, by name and in its dtype, for g = ``grad_out``."""
    dtype = compute_dtype(problem.features)
    tensors = problem.differentiable()
    device = problem.features.device
    totals = {name: torch.zeros(tensors[name].shape, dtype=dtype, device=device) for name in tensors if name in wanted}
    behind_phi = [name for name in totals if name not in ("features", "weight")]
    features, grad_out = (values.to(_product_dtype(problem)).contiguous() for values in (problem.features, grad_out))
    with torch.cuda.device_of(features):  # Triton launches on the current device
        if "features" in totals:
            _sum_to_rows(problem, False, grad_out, totals["features"], mean=False)
        if totals.keys() - {"features"}:
            _add_other_gradients(problem, features, grad_out, totals, behind_phi)
    return {name: total.to(tensors[name].dtype) for name, total in totals.items()}


def _add_other_gradients(
    problem: Problem, features: Tensor, grad_out: Tensor, totals: dict[str, Tensor], behind_phi: list[str]
) -> None:
    """∂W and what is behind ∂φ, by rows of the side on which a product with W takes less."""
    kernels, precision, dtype = _kernels(problem), _precision(problem), compute_dtype(features)
    rows_are_queries = problem.aggregates_first()
    weight = _weight(problem, rows_are_queries)
    row_values, columns = (grad_out, features) if rows_are_queries else (features, grad_out)
    for part in _parts(problem, whole(problem, rows_are_queries), rows_are_queries, behind_phi):
        if "weight" in totals:
            gradient = kernels.weight_gradient(part.rows, part.phi, columns, row_values, dtype, precision)
            turned = not (rows_are_queries or problem.depthwise)
            totals["weight"] += gradient.transpose(1, 2) if turned else gradient
        if part.slots is not None and behind_phi:
            grad_phi = kernels.phi_gradient(part.rows, columns, row_values, weight, dtype, precision)
            add_rows(totals, part.pull_back(grad_phi), part.slots, problem.kernel.basis)


@dataclass(frozen=True)
class _Part:
    """Rows with φ of their slots, and where torch has evaluated it what it depends on and the way back."""

    rows: Rows
    phi: Phi
    slots: Slots | None = None
    pull_back: PullBack = field(default=lambda _: {})


def _parts(problem: Problem, everything: Rows, rows_are_queries: bool, behind_phi: list[str]) -> Iterator[_Part]:
    """All rows at once where the kernels evaluate φ, else, as where a gradient behind it is wanted, in blocks."""
    from gridless.ops.convolution import triton_phi

    if everything.num_slots == 0:
        return
    if not behind_phi and _evaluates_phi(problem):
        yield _Part(everything, triton_phi.evaluated(problem, rows_are_queries))
        return
    for rows, slots in blocks(problem, everything):
        phi, pull_back = phi_and_pull_back(problem, slots, behind_phi)
        yield _Part(rows, triton_phi.given(phi), slots, pull_back)


def _evaluates_phi(problem: Problem) -> bool:
    from gridless.ops.convolution import triton_phi

    return triton_phi.can_evaluate(problem)


def _sum_to_rows(problem: Problem, rows_are_queries: bool, values: Tensor, out: Tensor, mean: bool) -> None:
    """Σ_slots Σ_hc φ_eh v_jc W_hco of each row, or the mean, into ``out`` [R, C_out], in the cheaper order."""
    if out.numel() == 0:
        return
    rows = whole(problem, rows_are_queries)
    if transforms_first(problem, rows_are_queries):
        _transform_first(problem, rows, rows_are_queries, values, out, mean)
        return
    weight, precision = _weight(problem, rows_are_queries), _precision(problem)
    for part in _parts(problem, rows, rows_are_queries, []):
        _kernels(problem).row_sums(part.rows, part.phi, values, weight, out, precision, mean)


def _transform_first(
    problem: Problem, rows: Rows, rows_are_queries: bool, values: Tensor, out: Tensor, mean: bool
) -> None:
    from gridless.ops.convolution import triton_messages

    weight, precision = _weight(problem, rows_are_queries), _precision(problem)
    others = whole(problem, not rows_are_queries)
    step = triton_messages.CHANNELS * max(1, _MESSAGES // (max(1, rows.num_slots) * triton_messages.CHANNELS))
    step = min(step, out.shape[1])
    messages = values.new_empty(rows.num_slots, step, dtype=compute_dtype(problem.features))
    for first in range(0, out.shape[1], step):
        for part in _parts(problem, others, not rows_are_queries, []):
            triton_messages.add_messages(part.rows, part.phi, values, weight, messages, first, precision)
        triton_messages.sum_messages(rows, messages, out, first, mean)


def transforms_first(problem: Problem, rows_are_queries: bool) -> bool:
    """Whether the columns' values are multiplied by W first: where it saves more than messages through memory cost."""
    from gridless.ops.convolution import triton_messages

    num_pairs = problem.indices.numel()
    if problem.depthwise or num_pairs * triton_messages.CHANNELS > _MESSAGES:
        return False
    width, col_channels, row_channels = problem.weight.shape
    num_rows, num_columns = len(problem.query_positions), len(problem.features)
    if not rows_are_queries:
        col_channels, row_channels, num_rows, num_columns = row_channels, col_channels, num_columns, num_rows
    saved = (num_rows - num_columns) * width * col_channels * row_channels + num_pairs * width * col_channels
    message = _MESSAGE_MULTIPLY_ADDS[_product_dtype(problem), _precision(problem)]
    return saved > num_pairs * row_channels * (width + message)


def _kernels(problem: Problem) -> ModuleType:
    """The kernels for this problem, imported where they are used: they need Triton."""
    return importlib.import_module(f"{__package__}.{'triton_depthwise' if problem.depthwise else 'triton_full'}")


def _product_dtype(problem: Problem) -> torch.dtype:
    """In what products are taken."""
    features = problem.features
    # P, a sum over a whole support, can exceed float16; Triton's interpreter takes the bits of bfloat16 for integers.
    widened = features.dtype == torch.float16 or (features.dtype == torch.bfloat16 and gpu.interpreted())
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
