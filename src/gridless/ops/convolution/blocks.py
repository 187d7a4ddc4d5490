"""One call of a convolution as named tensors, and its pairs in blocks that fit into the cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gridless.ops.convolution.basis import GIVEN
from gridless.ops.convolution.kernel import Kernel, PairInputs
from gridless.ops.rows import pair_rows, row_blocks, transposed_rows

# Numbers in one block's sums, and in its φ and gathered features: small enough for a core's second-level cache.
BLOCK_ELEMENTS = 2**19
# Sorting the pairs by source costs about as much as this many multiply-adds a pair.
_SORT_MULTIPLY_ADDS = 1000


@dataclass(frozen=True)
class Problem:
    """The tensors of one call."""

    features: Tensor
    source_positions: Tensor
    query_positions: Tensor
    indices: Tensor
    offsets: Tensor
    weight: Tensor
    kernel: Kernel
    extents: Tensor | None

    @property
    def depthwise(self) -> bool:
        """Factorized kernels: weight is [H, C] instead of [H, C_in, C_out]."""
        return self.weight.ndim == 2

    def differentiable(self) -> dict[str, Tensor]:
        """Every tensor that can have a gradient, by name."""
        tensors = {
            "features": self.features,
            "source_positions": self.source_positions,
            "query_positions": self.query_positions,
            "weight": self.weight,
        }
        if self.extents is not None:
            tensors["extents"] = self.extents
        return tensors | kernel_tensors(self.kernel)

    def aggregates_first(self) -> bool:
        """Which order of the two contractions takes fewer multiply-adds."""
        if self.depthwise:
            return True
        num_pairs = self.indices.numel()
        width, in_channels, out_channels = self.weight.shape
        gemm = width * in_channels * out_channels
        aggregate = num_pairs * width * in_channels + self.query_positions.shape[0] * gemm
        transform = num_pairs * (width * out_channels + _SORT_MULTIPLY_ADDS) + self.features.shape[0] * gemm
        return aggregate <= transform


def kernel_tensors(kernel: Kernel) -> dict[str, Tensor]:
    """The kernel's parameters by name."""
    basis = {f"basis.{place}": parameter for place, parameter in enumerate(kernel.basis_parameters)}
    return basis | {f"window.{place}": parameter for place, parameter in enumerate(kernel.window_parameters)}


@dataclass(frozen=True)
class Block:
    """B rows with the sources and queries of their pairs, padded to L a row and flattened to S = B · L slots.

    Args:
        rows: the rows, a slice where they are consecutive.
        shape: (B, L).
        pairs: [S] pair of each slot.
        sources: [S] source of each slot.
        queries: [S] query of each slot.
        columns: [S] sources where rows are queries, and the other way round.
        padding: [S] True where a slot repeats the row's last pair only to fill it up; None where none does.
    """

    rows: Tensor | slice
    shape: tuple[int, int]
    pairs: Tensor
    sources: Tensor
    queries: Tensor
    columns: Tensor
    padding: Tensor | None

    def mask(self, values: Tensor) -> Tensor:
        """``values`` [S, H] with zeros in padding slots."""
        return values if self.padding is None else values.masked_fill(self.padding[:, None], 0.0)

    def gather_phi_inputs(self, tensors: Mapping[str, Tensor], basis: str) -> dict[str, Tensor]:
        """From whole tensors named as in ``Problem.differentiable``, what φ of this block's slots depends on."""
        inputs = {}
        for name, tensor in tensors.items():
            rows = self.rows_of(name, basis)
            inputs[name] = tensor if rows is None else tensor.index_select(0, rows)
        return inputs

    def rows_of(self, name: str, basis: str) -> Tensor | None:
        """Which rows of a whole tensor belong to this block's slots; None for parameters, which all slots share."""
        rows = {"source_positions": self.sources, "query_positions": self.queries, "extents": self.queries}
        if basis == GIVEN:
            rows["basis.0"] = self.pairs
        return rows.get(name)


def evaluate_phi(kernel: Kernel, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """φ [S, H] of a block from its named inputs."""
    basis = tuple(inputs[f"basis.{place}"].to(dtype) for place in range(len(kernel.basis_parameters)))
    window = tuple(inputs[f"window.{place}"].to(dtype) for place in range(len(kernel.window_parameters)))
    pairs = PairInputs(
        source_positions=inputs["source_positions"],
        query_positions=inputs["query_positions"],
        extents=inputs.get("extents"),
        basis_values=basis[0] if kernel.basis == GIVEN else None,
    )
    return replace(kernel, basis_parameters=basis, window_parameters=window).evaluate(pairs, dtype)


def blocks(problem: Problem, rows_are_queries: bool) -> Iterator[Block]:
    """All pairs of a problem, each once, by rows of queries or by rows of sources."""
    width = problem.weight.shape[0]
    col_channels = problem.weight.shape[1] if rows_are_queries else problem.weight.shape[-1]
    max_rows = max(1, BLOCK_ELEMENTS // (width * (1 if problem.depthwise else col_channels)))
    max_pairs = max(1, BLOCK_ELEMENTS // max(width, col_channels))
    if rows_are_queries:
        offsets = problem.offsets
    else:
        order, offsets = transposed_rows(problem.indices, problem.features.shape[0])
        pair_queries = pair_rows(problem.offsets, problem.indices.numel())
    for block in row_blocks(offsets, max_pairs, max_rows):
        num_rows, length = block.pairs.shape
        if isinstance(block.rows, slice):
            rows = torch.arange(block.rows.start, block.rows.stop, device=offsets.device)
        else:
            rows = block.rows
        row_of_slot = rows.repeat_interleave(length)
        slots = block.pairs.reshape(-1)
        if rows_are_queries:
            pairs, columns = slots, problem.indices[slots]
            sources, queries = columns, row_of_slot
        else:
            pairs = order[slots]
            columns = pair_queries[pairs]
            sources, queries = row_of_slot, columns
        padding = None if block.padding is None else block.padding.reshape(-1)
        yield Block(block.rows, (num_rows, length), pairs, sources, queries, columns, padding)


class Workspace(threading.local):
    """Buffers kept between blocks and calls: fresh ones cost more in page faults than the arithmetic on them."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialized tensor of ``shape``, valid until ``name`` is taken again in this thread."""
        size = math.prod(shape)
        # A single row longer than a block is rare, and its buffer not worth keeping.
        if size > 4 * BLOCK_ELEMENTS:
            return like.new_empty(shape)
        key = (name, like.dtype, like.device)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            # A buffer made in inference mode could not be written to outside it.
            with torch.inference_mode(False):
                buffer = torch.empty(size, dtype=like.dtype, device=like.device)
            self._buffers[key] = buffer
        return buffer[:size].view(shape)
