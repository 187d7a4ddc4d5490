"""How large each support is."""

from __future__ import annotations

import torch
from torch import Tensor

from gridless.ops.dtypes import widened
from gridless.ops.operands import check_operands
from gridless.ops.registration import operator
from gridless.ops.rows import pair_rows, row_blocks

_MAX_SLOTS = 2**20


@operator("farthest_pair")
def _farthest_pair(
    source_positions: Tensor, query_positions: Tensor, indices: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Per row: the source farthest from the query [M] (0 for an empty row) and whether there is one [M] bool."""
    num_rows = query_positions.shape[0]
    if indices.device.type != "cpu":
        return _farthest_without_blocks(source_positions, query_positions, indices, offsets)
    farthest = torch.zeros(num_rows, dtype=torch.int64, device=indices.device)
    for block in row_blocks(offsets, max_pairs=_MAX_SLOTS, max_rows=_MAX_SLOTS):
        sources = indices[block.pairs]
        z = query_positions[block.rows][:, None, :] - source_positions[sources]
        place = z.square().sum(dim=2).argmax(dim=1, keepdim=True)
        farthest[block.rows] = sources.gather(1, place)[:, 0]
    return farthest, offsets.diff() > 0


def _farthest_without_blocks(
    source_positions: Tensor, query_positions: Tensor, indices: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """The same of all pairs at once, in more memory: to cut blocks by lengths of rows one waits for a GPU."""
    num_rows, num_pairs = query_positions.shape[0], indices.numel()
    occupied = offsets.diff() > 0
    if num_rows == 0 or num_pairs == 0:
        return indices.new_zeros(num_rows), occupied
    rows = pair_rows(offsets, num_pairs)
    squared = (query_positions[rows] - source_positions[indices]).square().sum(dim=1)
    largest = squared.new_zeros(num_rows).scatter_reduce(0, rows, squared, "amax", include_self=False)
    place = torch.arange(num_pairs, device=indices.device)
    # NaN is the largest, and not equal to itself.
    place = torch.where((squared == largest[rows]) | squared.isnan(), place, num_pairs - 1)
    first = place.new_full((num_rows,), num_pairs - 1).scatter_reduce(0, rows, place, "amin")
    return torch.where(occupied, indices[first], 0), occupied


@_farthest_pair.register_fake
def _(source_positions, query_positions, indices, offsets):  # type: ignore[no-untyped-def]
    num_rows = query_positions.shape[0]
    return indices.new_empty(num_rows), indices.new_empty(num_rows, dtype=torch.bool)


def support_extents(source_positions: Tensor, query_positions: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Distance from each query to the farthest source of its support, differentiable: max_{j in N(i)} |x_i - y_j|.

    Args:
        source_positions: [N, D].
        query_positions: [M, D].
        indices: [E] int64.
        offsets: [M + 1] int64.

    Returns:
        [M] in the positions' dtype and unit; 0 for an empty support.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: shapes that do not belong together.

    Example:
        >>> positions = torch.tensor([[0.0], [3.0]])
        >>> support_extents(positions, positions, torch.tensor([0, 1]), torch.tensor([0, 2, 2])).tolist()
        [3.0, 0.0]
    """
    check_operands(
        "support_extents", indices, offsets, source_positions=source_positions, query_positions=query_positions
    )
    if source_positions.shape[0] == 0:
        return query_positions.new_zeros(query_positions.shape[0])
    dtype = query_positions.dtype
    sources, queries = widened(source_positions), widened(query_positions)
    farthest, occupied = _farthest_pair(sources.detach(), queries.detach(), indices, offsets)
    # Not sources[farthest], whose gradient adds up in no fixed order.
    squared = (queries - sources.index_select(0, farthest)).square().sum(dim=1)
    # The square root has no derivative at 0; nor has the extent of an empty support or of a single point.
    usable = occupied & (squared > 0)
    return (torch.where(usable, squared, 1.0).sqrt() * usable).to(dtype)


def given_extents(function: str, extents: Tensor | float, like: Tensor, axis: str = "M") -> Tensor:
    """Extents that a caller chose, one number or one for each row of ``like`` [M, D], as a tensor [M].

    A tensor may hold zeros, as those of :func:`support_extents` do for empty supports and for single points.

    Raises:
        ValueError: another shape, or sizes that cannot be (in tensors looked for on the CPU only, where nothing waits).
    """
    count = like.shape[0]
    if not isinstance(extents, Tensor):
        if not extents > 0:
            raise ValueError(f"{function}: extents must be positive, got {extents}")
        return like.new_full((count,), extents)
    if extents.ndim == 0:
        extents = extents.repeat(count)
    if extents.shape != (count,):
        raise ValueError(
            f"{function}: extents must be a number or [{axis} = {count}], got shape {tuple(extents.shape)}"
        )
    if extents.device.type == "cpu" and not torch.compiler.is_compiling():
        bad = (~(extents.detach() >= 0)).nonzero()
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"{function}: extents must not be negative or NaN, {len(bad)} of {count} are "
                f"(first: row {row}, {float(extents[row])})"
            )
    return extents
