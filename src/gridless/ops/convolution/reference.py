"""The definition, as plain as it can be written: the kernel of every pair is built and kept.

out_i = Σ_{j in N(i)} g(x_i - y_j) f_j ,    g(z) = Σ_h φ_h(z) W_h
"""

from __future__ import annotations

import torch
from torch import Tensor

from gridless.ops.convolution.basis import GIVEN
from gridless.ops.convolution.kernel import Kernel, PairInputs
from gridless.ops.dtypes import compute_dtype
from gridless.ops.rows import check_rows, pair_rows


def convolve(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    kernel: Kernel,
    extents: Tensor | None,
) -> Tensor:
    """The sum in ``compute_dtype``; arguments as in ``api``; needs memory for E · C_in · C_out numbers."""
    dtype = compute_dtype(features)
    check_rows("continuous_conv", indices, offsets, len(features))
    rows = pair_rows(offsets, indices.numel())
    # Not source_positions[…] or features[…], whose gradients add up in no fixed order.
    pairs = PairInputs(
        source_positions=source_positions.index_select(0, indices),
        query_positions=query_positions.index_select(0, rows),
        extents=None if extents is None else extents.index_select(0, rows),
        basis_values=kernel.basis_parameters[0] if kernel.basis == GIVEN else None,
    )
    phi = kernel.to(dtype).evaluate(pairs, dtype)
    # Widened first, so that gradients of sources in many pairs are added up wide as well.
    pair_features = features.to(dtype).index_select(0, indices)
    if weight.ndim == 3:
        kernels = torch.einsum("eh,hco->eco", phi, weight.to(dtype))
        messages = torch.einsum("eco,ec->eo", kernels, pair_features)
    else:
        messages = (phi @ weight.to(dtype)) * pair_features
    out = messages.new_zeros(query_positions.shape[0], messages.shape[1])
    return out.index_add(0, rows, messages)
