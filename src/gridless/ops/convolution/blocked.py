"""The same sum without ever building a kernel, in blocks of rows that fit into the cache.

    F(φ, f, W, g) = Σ_e Σ_h Σ_c Σ_o φ_eh f_{j(e)c} W_hco g_{i(e)o}

is linear in each argument: the forward pass is ∂F/∂g, the backward pass the other three derivatives. All of them come
out of one loop over blocks of compressed rows. Rows are queries ("aggregate first": P_ihc = Σ φ f, then one GEMM with
W) or, with f and g exchanged, sources ("transform first": T_jho = f_j W_h, then Σ φ T), whichever is cheaper. φ, P and
T exist for one block at a time and are computed again in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.ops.convolution.blocks import Block, blocks
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import add_rows, phi_and_pull_back
from gridless.ops.dtypes import compute_dtype
from gridless.ops.workspace import Workspace

_workspace = Workspace()


@dataclass
class _Sums:
    """Where derivatives of F are accumulated; None (or False) where one is not wanted.

    ``row`` and ``col`` are ∂F/∂ the tensor on that side; a tensor on the row side is written once, row by row.
    """

    row: Tensor | None = None
    col: Tensor | None = None
    weight: Tensor | None = None
    phi: bool = False


def why_not(problem: Problem) -> str:
    """Why this problem cannot be computed here; "" where it can: always."""
    return ""


def forward(problem: Problem) -> Tensor:
    """Σ_{j in N(i)} g(x_i - y_j) f_j, or the mean, [M, C_out] in ``compute_dtype`` of the features."""
    features = problem.features
    dtype = compute_dtype(features)
    out = features.new_zeros((problem.query_positions.shape[0], problem.weight.shape[-1]), dtype=dtype)
    rows_are_queries = problem.aggregates_first()
    weight = problem.weight_from_columns(rows_are_queries, dtype)
    if rows_are_queries:
        sums, row, col = _Sums(row=out), None, features
    else:
        sums, row, col = _Sums(col=out), features, None
    contract = _contract_depthwise if problem.depthwise else _contract_full
    for block in blocks(problem, rows_are_queries):
        phi, _ = phi_and_pull_back(problem, block, [])
        contract(block, block.mask(phi), row, col, weight, sums)
    return problem.averaged(out, out=out)


def backward(problem: Problem, grad_out: Tensor, wanted: set[str], sums: Tensor | None = None) -> dict[str, Tensor]:
    """∂F/∂ each wanted tensor of ``problem.differentiable()``, by name and in its dtype, for g = ``grad_out``.

    Where ``sums`` [M, C_out] is given, zeros in ``compute_dtype``, it also gets the sums of the forward pass.
    """
    dtype = compute_dtype(problem.features)
    tensors = problem.differentiable()
    totals = {name: torch.zeros_like(tensors[name], dtype=dtype) for name in tensors if name in wanted}
    behind_phi = [name for name in totals if name not in ("features", "weight")]
    rows_are_queries = problem.aggregates_first()
    weight = problem.weight_from_columns(rows_are_queries, dtype)
    at_sources = totals.get("features")
    if rows_are_queries:
        row, col, derivatives = grad_out, problem.features, _Sums(row=sums, col=at_sources)
    else:
        row, col, derivatives = problem.features, grad_out, _Sums(row=at_sources, col=sums)
    derivatives.phi = bool(behind_phi)
    if "weight" in totals:
        derivatives.weight = totals["weight"] = torch.zeros_like(weight)
    contract = _contract_depthwise if problem.depthwise else _contract_full
    for block in blocks(problem, rows_are_queries):
        phi, pull_back = phi_and_pull_back(problem, block, behind_phi)
        grad_phi = contract(block, block.mask(phi), row, col, weight, derivatives)
        if grad_phi is not None:
            add_rows(totals, pull_back(block.mask(grad_phi)), block, problem.kernel.basis)
    if "weight" in totals and not rows_are_queries:
        totals["weight"] = totals["weight"].transpose(1, 2)
    return {name: total.to(tensors[name].dtype).contiguous() for name, total in totals.items()}


def _gather(values: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """values[rows] in the dtype of ``like``, in kept memory."""
    gathered = _workspace.take("gathered", (rows.numel(), values.shape[1]), values)
    torch.index_select(values, 0, rows, out=gathered)
    return gathered.to(like.dtype)


def _contract_full(
    block: Block, phi: Tensor, row: Tensor | None, col: Tensor | None, weight: Tensor, sums: _Sums
) -> Tensor | None:
    """Add one block's part for full kernels, weight [H, C_col, C_row]; returns ∂F/∂φ [S, H] where wanted."""
    num_rows, length = block.shape
    width, col_channels, row_channels = weight.shape
    flat_weight = weight.view(width * col_channels, row_channels)
    phi = phi.view(num_rows, length, width)
    if col is not None:
        gathered = _gather(col, block.columns, phi).view(num_rows, length, col_channels)
    if row is not None:
        block_row = row[block.rows].to(phi.dtype)

    if sums.row is not None or sums.weight is not None:
        aggregated = _workspace.take("aggregated", (num_rows, width, col_channels), phi)
        torch.bmm(phi.transpose(1, 2), gathered, out=aggregated)
        flat = aggregated.view(num_rows, width * col_channels)
        if sums.row is not None:
            sums.row[block.rows] = (flat @ flat_weight).to(sums.row.dtype)
        if sums.weight is not None:
            sums.weight.view(flat_weight.shape).addmm_(flat.T, block_row)
    if sums.col is None and not sums.phi:
        return None

    transformed = _workspace.take("transformed", (num_rows, width * col_channels), phi)
    torch.mm(block_row, flat_weight.T, out=transformed)
    transformed = transformed.view(num_rows, width, col_channels)
    if sums.col is not None:
        messages = _workspace.take("messages", (num_rows, length, col_channels), phi)
        torch.bmm(phi, transformed, out=messages)
        sums.col.index_add_(0, block.columns, messages.view(-1, col_channels))
    if not sums.phi:
        return None
    grad_phi = _workspace.take("grad_phi", (num_rows, length, width), phi)
    return torch.bmm(gathered, transformed.transpose(1, 2), out=grad_phi).view(-1, width)


def _contract_depthwise(
    block: Block, phi: Tensor, row: Tensor | None, col: Tensor | None, weight: Tensor, sums: _Sums
) -> Tensor | None:
    """The same for factorized kernels, weight [H, C]: the kernel of a pair is a vector of C numbers, κ = φ W."""
    num_rows, length = block.shape
    channels = weight.shape[1]
    kernels = _workspace.take("kernels", (phi.shape[0], channels), phi)
    torch.mm(phi, weight, out=kernels)
    if col is not None:
        gathered = _gather(col, block.columns, phi)
    if sums.row is not None:
        products = torch.mul(kernels, gathered, out=_workspace.take("products", (phi.shape[0], channels), phi))
        sums.row[block.rows] = products.view(num_rows, length, channels).sum(dim=1).to(sums.row.dtype)
    if row is None:
        return None
    block_row = row[block.rows].to(phi.dtype).repeat_interleave(length, dim=0)
    if sums.col is not None:
        sums.col.index_add_(0, block.columns, kernels.mul_(block_row))
    if sums.weight is None and not sums.phi:
        return None
    grad_kernels = block_row.mul_(gathered)
    if sums.weight is not None:
        sums.weight.addmm_(phi.T, grad_kernels)
    return grad_kernels @ weight.T if sums.phi else None
