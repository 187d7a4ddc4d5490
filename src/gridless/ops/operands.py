"""Checks of the tensors that every operator takes, from types and shapes alone: no operator waits for a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gridless.arguments import check_tensor


def check_operands(
    function: str,
    indices: Tensor,
    offsets: Tensor,
    *,
    features: Tensor | None = None,
    source_positions: Tensor | None = None,
    query_positions: Tensor | None = None,
) -> None:
    """Raise TypeError or ValueError, naming function and argument, for types and shapes that do not fit together.

    Args:
        function: what error messages call the caller.
        indices: [E] int64.
        offsets: [M + 1] int64.
        features: [N, C] floating point; None where the operator takes none.
        source_positions: [N, D], likewise.
        query_positions: [M, D], likewise.
    """
    floating = {"features": features, "source_positions": source_positions, "query_positions": query_positions}
    given = {name: (tensor, 2) for name, tensor in floating.items() if tensor is not None}
    for name, (tensor, rank) in (given | {"indices": (indices, 1), "offsets": (offsets, 1)}).items():
        check_tensor(function, name, tensor)
        if tensor.ndim != rank:
            raise ValueError(f"{function}: {name} must have {rank} dimensions, got shape {tuple(tensor.shape)}")
    for name, tensor in (("indices", indices), ("offsets", offsets)):
        if tensor.dtype != torch.int64:
            raise TypeError(f"{function}: {name} must be int64, got {tensor.dtype}")
    for name, (tensor, _) in given.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{function}: {name} must be floating point, got {tensor.dtype}")
    if features is not None and source_positions is not None and features.shape[0] != source_positions.shape[0]:
        raise ValueError(
            f"{function}: features [N, C] and source_positions [N, D] must have the same N, "
            f"got {features.shape[0]} and {source_positions.shape[0]}"
        )
    if query_positions is None:
        return
    if source_positions is not None and source_positions.shape[1] != query_positions.shape[1]:
        raise ValueError(
            f"{function}: source_positions [N, D] and query_positions [M, D] must have the same D, "
            f"got {source_positions.shape[1]} and {query_positions.shape[1]}"
        )
    if offsets.shape[0] != query_positions.shape[0] + 1:
        raise ValueError(
            f"{function}: offsets must be [M + 1 = {query_positions.shape[0] + 1}], got {offsets.shape[0]} entries"
        )
