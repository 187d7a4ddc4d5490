"""The same sum in compiled loops.

    P_ihc = Σ_e φ_eh f_jc  →  out = P W ,  ∂W = Pᵀ g
    T = g Wᵀ  →  ∂φ_eh = Σ_c f_jc T_ihc ,  ∂f_jc = Σ_e φ_eh T_ihc

as in ``blocked``; sources and queries, f and g exchange their parts where that is cheaper. Kernels that are ReLU, SiLU
or GELU networks are evaluated and differentiated inside the loop, tile by tile in registers and first-level cache; φ of
any other basis comes from torch, one block at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from gridless import native
from gridless.native import handed
from gridless.ops import pair_loop
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import Slots, add_rows, phi_and_pull_back
from gridless.ops.convolution.windows import NO_WINDOW
from gridless.ops.dtypes import compute_dtype
from gridless.ops.rows import pair_rows

# Numbers in one block's P and messages where threads share sums, and in its φ where torch evaluates it: they stay in
# the last-level cache, and threads meet seldom. The README has what other sizes cost.
_BLOCK_NUMBERS = 2**21
# Rows are visited in another order where features exceed what is left of the last-level cache.
_CACHE_BYTES = 2**23
_SAMPLED_ROWS = 256
_FUSED_ACTIVATIONS = {"mlp_relu": "relu", "mlp_silu": "silu", "mlp_gelu": "gelu"}
_MOST_FUSED_LAYERS = 8


def why_not(problem: Problem) -> str:
    """Why this problem cannot be computed here; "" where it can."""
    if problem.features.device.type != "cpu":
        return f"the compiled loops run on the CPU, the features are on {problem.features.device}"
    return native.why_unavailable()


def forward(problem: Problem) -> Tensor:
    """Σ_{j in N(i)} g(x_i - y_j) f_j, or the mean, [M, C_out] in ``compute_dtype`` of the features."""
    sweep = _Sweep(problem)
    dtype, features = sweep.dtype, problem.features.detach()
    shape = (problem.query_positions.shape[0], problem.weight.shape[-1])
    out = torch.empty(shape, dtype=dtype) if sweep.rows_are_queries else torch.zeros(shape, dtype=dtype)
    if sweep.rows_are_queries:
        pair_loop.set_features(sweep.loop, features)
    for block in sweep.blocks(columns=None if sweep.rows_are_queries else out):
        if sweep.rows_are_queries:
            sums = block.values_to_write(out)
            block.run(row_sums=sums)
            block.write(out, sums)
        else:
            block.run(row_values=block.read(features))
    return problem.averaged(out, out=out)


def backward(problem: Problem, grad_out: Tensor, wanted: set[str], sums: Tensor | None = None) -> dict[str, Tensor]:
    """∂F/∂ each wanted tensor of ``problem.differentiable()``, by name and in its dtype, for g = ``grad_out``.

    Where ``sums`` [M, C_out] is given, zeros in ``compute_dtype``, it also gets the sums of the forward pass.
    """
    sweep = _Sweep(problem)
    dtype, features = sweep.dtype, problem.features.detach()
    grad_out = grad_out.detach().to(dtype).contiguous()
    tensors = problem.differentiable()
    totals = {name: torch.zeros(tensors[name].shape, dtype=dtype) for name in tensors if name in wanted}
    behind_phi = [name for name in totals if name not in ("features", "weight")]
    rows, columns = (grad_out, features) if sweep.rows_are_queries else (features, grad_out)
    pair_loop.set_features(sweep.loop, columns)
    at_sources = totals.get("features")
    column_total, row_total = (at_sources, sums) if sweep.rows_are_queries else (sums, at_sources)
    for block in sweep.blocks(column_total, totals, behind_phi):
        row_sums = None if row_total is None else block.values_to_write(row_total)
        block.run(row_values=block.read(rows), row_sums=row_sums)
        if row_total is not None and row_sums is not None:
            block.write(row_total, row_sums)
    if "weight" in totals and not sweep.rows_are_queries:
        width, in_channels, out_channels = problem.weight.shape
        totals["weight"] = totals["weight"].view(width, out_channels, in_channels).transpose(1, 2)
    return {name: total.to(tensors[name].dtype).contiguous() for name, total in totals.items()}


def _positions(problem: Problem) -> tuple[Tensor, Tensor]:
    """Source and query positions in one dtype that the compiled loop reads."""
    source_positions, query_positions = problem.source_positions.detach(), problem.query_positions.detach()
    dtype = torch.promote_types(source_positions.dtype, query_positions.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return source_positions.to(dtype).contiguous(), query_positions.to(dtype).contiguous()


class _Sweep:
    """One pass over all pairs of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.dtype = compute_dtype(problem.features)
        self.rows_are_queries = problem.aggregates_first()
        parameters = len(problem.kernel.basis_parameters)
        self.fused = (
            problem.kernel.basis in _FUSED_ACTIVATIONS
            and 2 <= parameters <= 2 * _MOST_FUSED_LAYERS
            and not problem.tangents
        )
        extension = native.extension()
        self.width = problem.weight.shape[0]
        self.channels = problem.weight.shape[1] if self.rows_are_queries else problem.weight.shape[-1]
        num_sources, num_queries = len(problem.source_positions), len(problem.query_positions)
        num_columns = num_sources if self.rows_are_queries else num_queries
        indices, offsets = problem.indices.detach().contiguous(), problem.offsets.detach().contiguous()
        try:
            if self.rows_are_queries:
                self.order, self.pairs = self._visiting_order(indices, offsets), None
                self.offsets, self.columns = offsets, indices
                if self.order is not None:
                    self.offsets, self.columns = torch.empty_like(offsets), torch.empty_like(indices)
                    arrays = [handed(rows) for rows in (offsets, indices, self.order, self.offsets, self.columns)]
                    extension.reorder_rows(*arrays, torch.get_num_threads())
            else:
                self.order, self.pairs = None, torch.empty_like(indices)
                self.offsets = torch.empty(num_sources + 1, dtype=torch.int64)
                extension.transpose_rows(handed(indices), num_sources, handed(self.pairs), handed(self.offsets))
                self.columns = pair_rows(offsets, indices.numel())[self.pairs]
            self.loop = pair_loop.make_loop(
                self.dtype, self.offsets, self.columns, num_columns, self.width, self.channels
            )
        except IndexError as error:
            raise ValueError(f"continuous_conv: {error}") from None
        if self.fused:
            self._set_kernel()
        if problem.depthwise:
            weight = problem.weight.detach().to(self.dtype)
            padding = self.loop.padded_channels - self.channels
            self.loop.set_depthwise(handed(torch.nn.functional.pad(weight, (0, padding)).contiguous()))
        else:
            self.loop.set_weight(handed(problem.weight_from_columns(self.rows_are_queries, self.dtype).detach()))

    def blocks(
        self,
        columns: Tensor | None = None,
        totals: dict[str, Tensor] | None = None,
        behind_phi: list[str] | None = None,
    ) -> Iterator[_Block]:
        """Blocks of rows in turn; gradients asked for in ``totals`` are complete when the last one is done."""
        problem, behind_phi, totals = self.problem, behind_phi or [], totals or {}
        apart = self.loop.sums_apart
        keeps_products = "weight" in totals and not problem.depthwise and not apart
        per_row = self.width * self.channels if keeps_products else 1
        per_slot = max(1 if columns is None or apart else self.channels, 1 if self.fused else self.width)
        bounds = self.loop.cut_into_blocks(max(1, _BLOCK_NUMBERS // per_row), max(1, _BLOCK_NUMBERS // per_slot))
        layers: list[Tensor] = []
        wanted: dict[str, Tensor] = {} if columns is None else {"columns": columns}
        if "weight" in totals:
            wanted["depthwise" if problem.depthwise else "weight"] = totals["weight"]
        row_gradients: dict[str, Tensor] = {}
        if self.fused:
            source, query = ("column", "row") if self.rows_are_queries else ("row", "column")
            sides = {"source_positions": f"{source}_positions", "query_positions": f"{query}_positions"}
            sides["extents"] = f"{query}_extents"
            for name in behind_phi:
                if name not in sides:
                    continue
                if self.order is not None and sides[name].startswith("row"):
                    row_gradients[name] = torch.zeros_like(totals[name])
                wanted[sides[name]] = row_gradients.get(name, totals[name])
            if "window.0" in totals:
                wanted["window"] = totals["window.0"].view(1)
            if any(name.startswith("basis.") for name in behind_phi):
                layers = [torch.empty_like(layer) for layer in self.layers]
        self.loop.want(
            **{name: handed(tensor) for name, tensor in wanted.items()},
            layers=[handed(layer) for layer in layers],
            phi=bool(behind_phi) and not self.fused,
        )
        pair_loop.start(self.loop)
        for first, last in itertools.pairwise(bounds):
            yield _Block(self, first, last, totals, [] if self.fused else behind_phi)
        self.loop.finish()
        for name, gradient in row_gradients.items():
            totals[name][self.order] = gradient
        for place, layer in enumerate(layers):
            for name, gradient in ((f"basis.{2 * place}", layer[:, :-1]), (f"basis.{2 * place + 1}", layer[:, -1])):
                if name in totals:
                    totals[name] = gradient

    def _visiting_order(self, indices: Tensor, offsets: Tensor) -> Tensor | None:
        """The queries along a space-filling curve; None where their sources are at hand in the caches as it is."""
        row_bytes = self.channels * self.problem.features.element_size()
        num_rows = len(offsets) - 1
        if not self.fused or len(self.problem.features) * row_bytes <= _CACHE_BYTES or indices.numel() == 0:
            return None
        rows = torch.linspace(0, num_rows - 2, _SAMPLED_ROWS, dtype=torch.float64).long().clamp_min(0)
        first, second = (indices[offsets[row].clamp_max(len(indices) - 1)] for row in (rows, rows + 1))
        if int((first - second).abs().median()) * row_bytes <= _CACHE_BYTES // 16:
            return None
        order = torch.empty(num_rows, dtype=torch.int64)
        native.extension().order_along_curve(handed(_positions(self.problem)[1]), handed(order))
        return order

    def _set_kernel(self) -> None:
        """Hand the kernel to the compiled loop."""
        problem, kernel = self.problem, self.problem.kernel
        parameters = [parameter.detach().to(self.dtype) for parameter in kernel.basis_parameters]
        self.layers = [
            torch.cat([weight, bias[:, None]], dim=1)
            for weight, bias in zip(parameters[::2], parameters[1::2], strict=True)
        ]
        source_positions, query_positions = _positions(problem)
        activation = _FUSED_ACTIVATIONS[kernel.basis]
        layers = [handed(layer) for layer in self.layers]
        sources, queries = handed(source_positions), handed(self._in_order(query_positions))
        if self.rows_are_queries:
            self.loop.set_kernel(activation, layers, queries, sources, 1)
        else:
            self.loop.set_kernel(activation, layers, sources, queries, -1)
        if kernel.window != NO_WINDOW:
            assert problem.extents is not None
            parameter = float(kernel.window_parameters[0]) if kernel.window_parameters else 0.0
            extents = self._in_order(problem.extents.detach().to(self.dtype).contiguous())
            self.loop.set_window(kernel.window, parameter, handed(extents), self.rows_are_queries)

    def _in_order(self, values: Tensor) -> Tensor:
        """One value a row, in the order in which rows are visited."""
        return values if self.order is None else values[self.order]

    def slots(self, first_row: int, last_row: int) -> Slots:
        """The slots of some rows."""
        first, last = int(self.offsets[first_row]), int(self.offsets[last_row])
        counts = self.offsets[first_row : last_row + 1].diff()
        rows = torch.arange(first_row, last_row).repeat_interleave(counts)
        columns = self.columns[first:last]
        pairs = torch.arange(first, last) if self.pairs is None else self.pairs[first:last]
        return Slots(pairs, columns, rows) if self.rows_are_queries else Slots(pairs, rows, columns)


class _Block:
    """Consecutive rows of a sweep and their part of P and T."""

    def __init__(
        self, sweep: _Sweep, first_row: int, last_row: int, totals: dict[str, Tensor], behind_phi: list[str]
    ) -> None:
        self.sweep, self.first_row, self.last_row = sweep, first_row, last_row
        self.rows = slice(first_row, last_row)
        self._totals, self._behind_phi = totals, behind_phi

    def read(self, values: Tensor) -> Tensor:
        """These rows of [num_rows, C], in the dtype of the sums."""
        order = self.sweep.order
        own = values[self.rows] if order is None else values[order[self.rows]]
        return own.to(self.sweep.dtype)

    def values_to_write(self, out: Tensor) -> Tensor:
        """Memory for these rows of ``out``: its own, where rows are visited as they lie."""
        return out[self.rows] if self.sweep.order is None else torch.empty_like(out[self.rows])

    def write(self, out: Tensor, values: Tensor) -> None:
        """Put what ``values_to_write`` gave to where it belongs."""
        if self.sweep.order is not None:
            out[self.sweep.order[self.rows]] = values

    def run(self, row_values: Tensor | None = None, row_sums: Tensor | None = None) -> None:
        """The pairs of this block, with φ and its gradient by torch where the compiled loop does not know the basis."""
        sweep = self.sweep
        arrays = {"row_values": handed(row_values), "row_sums": handed(row_sums)}
        if sweep.fused:
            sweep.loop.run(self.first_row, self.last_row, **arrays)
            return
        slots = sweep.slots(self.first_row, self.last_row)
        phi, pull_back = phi_and_pull_back(sweep.problem, slots, self._behind_phi)
        phi = phi.detach().contiguous()
        grad_phi = torch.empty_like(phi) if self._behind_phi else None
        sweep.loop.run(self.first_row, self.last_row, phi=handed(phi), grad_phi=handed(grad_phi), **arrays)
        if grad_phi is not None:
            add_rows(self._totals, pull_back(grad_phi), slots, sweep.problem.kernel.basis)
