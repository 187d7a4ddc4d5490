"""The parametric continuous convolution as a module."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gridless.arguments import check_tensor, per_axis
from gridless.neighbors import AllPairs, Neighborhoods
from gridless.neighbors.neighborhoods import check_neighborhoods
from gridless.nn.bases import KernelBasis
from gridless.ops.convolution import continuous_conv
from gridless.ops.convolution.api import REDUCTIONS
from gridless.ops.convolution.basis import BASES, GIVEN
from gridless.ops.convolution.kernel import Kernel, PairInputs
from gridless.ops.convolution.windows import WINDOWS
from gridless.ops.dtypes import compute_dtype
from gridless.ops.extents import given_extents

# Of a Gaussian window at the beginning, as a fraction of the extent.
_WINDOW_WIDTH = 0.5
_INPUTS_PER_AXIS = {"offset": 1, "positions": 2, "both": 3}


class ContinuousConv(nn.Module):
    """Parametric continuous convolution: the kernel is an MLP over the offset between an output and an input point.

    out_i = b + (1/|N(i)|) Σ_{j in N(i)} g(x_i - y_j) f_j with g(z) = w(|z| / extent_i) · MLP(z / scale). The MLP has
    ReLU (or another activation) after each hidden layer and ends in a linear layer to C_out × C_in numbers.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        dim: D, number of coordinates.
        hidden: widths of the MLP's hidden layers; the last one is what cost and memory grow with.
        window: None (hard support), "gaussian" (learned width) or "polynomial".
        reduce: "mean", "sum" or "density" (then ``forward`` takes the density at the sources).
        bias: add a learned b [C_out].
        activation: of the hidden layers: "relu", "silu", "gelu" or "sine".
        factorized: the paper's cheaper kernels: a linear layer C_in → C_out, then one kernel value a channel.
        scale: length, in the unit of the positions, that the MLP sees as 1; about the size of a support is best. D
            lengths, one an axis, make a metric of their own: |z / scale|, as for space and time.
        kernel_inputs: what the kernel is a function of: "offset" (x_i - y_j), "positions" (x_i, y_j) or "both".
        pair_features: how many numbers a pair, such as distances or edge attributes, the kernel sees beside them;
            ``forward`` takes them. φ is then held for all pairs, [E, H].
        basis: another family of kernels than the MLP, see ``gridless.nn.bases``; it replaces ``hidden`` and
            ``activation``.
        impl: see ``gridless.continuous_conv``.

    Raises:
        TypeError: basis is no ``KernelBasis``.
        ValueError: a count or length is not positive, an unknown choice, or a window on other kernel_inputs than
            offsets.

    Source:
        Wang et al., "Deep Parametric Continuous Convolutional Neural Networks", CVPR 2018, sections 3.1 and 3.2.

    Example:
        >>> from gridless.neighbors import knn
        >>> positions, queries = torch.randn(100, 3), torch.randn(20, 3)
        >>> conv = ContinuousConv(8, 16)
        >>> conv(torch.randn(100, 8), positions, queries, knn(positions, queries, 5)).shape
        torch.Size([20, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int = 3,
        hidden: Sequence[int] = (16, 32),
        window: str | None = None,
        reduce: str = "mean",
        bias: bool = True,
        *,
        activation: str = "relu",
        factorized: bool = False,
        scale: float | Sequence[float] | Tensor = 1.0,
        kernel_inputs: str = "offset",
        pair_features: int = 0,
        basis: KernelBasis | None = None,
        impl: str = "auto",
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "out_channels": out_channels, "dim": dim}
        counts |= {f"hidden[{place}]": width for place, width in enumerate(hidden)}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"ContinuousConv: {name} must be at least 1, got {count}")
        choices = {
            "window": (window, (None, *WINDOWS)),
            "activation": (activation, ("relu", "silu", "gelu", "sine")),
            "reduce": (reduce, REDUCTIONS),
            "kernel_inputs": (kernel_inputs, tuple(_INPUTS_PER_AXIS)),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"ContinuousConv: {name} must be one of {allowed}, got {value!r}")
        scales = per_axis("ContinuousConv", "scale", scale, dim).tolist()
        if not all(length > 0 for length in scales):
            raise ValueError(f"ContinuousConv: scale must be positive, got {scale}")
        if pair_features < 0:
            raise ValueError(f"ContinuousConv: pair_features must not be negative, got {pair_features}")
        if window is not None and kernel_inputs != "offset" and not pair_features:
            raise ValueError(f"ContinuousConv: a window needs kernel_inputs='offset', got {kernel_inputs!r}")
        inputs = dim * _INPUTS_PER_AXIS[kernel_inputs] + pair_features
        if basis is not None and not isinstance(basis, KernelBasis):
            raise TypeError(
                f"ContinuousConv: basis must be a KernelBasis such as gridless.nn.GaussianRadial(8, 1.0), got {basis!r}"
            )
        if basis is not None and basis.dim not in (None, inputs):
            raise ValueError(f"ContinuousConv: the basis is of {basis.dim} inputs, but the kernel has {inputs}")
        self.in_channels, self.out_channels, self.dim = in_channels, out_channels, dim
        self.hidden, self.activation = tuple(hidden), activation
        self.window, self.reduce, self.factorized = window, reduce, factorized
        # Where the axes differ, positions are divided by axis_scales and extents are in that unit already.
        same = len(set(scales)) == 1
        self.scale: float = scales[0] if same else 1.0
        self.axis_scales: tuple[float, ...] | None = None if same else tuple(scales)
        self.impl = impl

        self.kernel_inputs, self.pair_features, self.basis = kernel_inputs, pair_features, basis

        widths = (inputs, *hidden)
        layers = [nn.Linear(before, after) for before, after in itertools.pairwise(widths)] if basis is None else []
        self.kernel_layers = nn.ModuleList(layers)
        # One row a hidden unit and one for the bias of the MLP's last layer.
        basis_width = widths[-1] + 1 if basis is None else basis.width
        self.linear = nn.Linear(in_channels, out_channels, bias=False) if factorized else None
        shape = (basis_width, out_channels) if factorized else (basis_width, in_channels, out_channels)
        self.weight = nn.Parameter(torch.empty(shape))
        self.window_log_width = nn.Parameter(torch.empty(())) if window == "gaussian" else None
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._reset_own_parameters()

    def reset_parameters(self) -> None:
        """Make all that training changes as it is at the beginning, the basis' parameters and the window's width too.

        Weights are drawn so that features of variance 1 give outputs of about variance 1 (before averaging).

        Much smaller outputs would leave a batch normalization behind the layer with running statistics that are
        wrong for hundreds of steps.
        """
        if self.basis is not None:
            self.basis.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        """All but those of the basis, which a new layer takes as it is given."""
        for parameter in self.kernel_layers.parameters():
            if parameter.ndim == 2:
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
            else:
                # Biases spread the units over the support, in which offsets are about 1 long.
                nn.init.uniform_(parameter, -0.5, 0.5)
        if self.linear is not None:
            nn.init.uniform_(self.linear.weight, -math.sqrt(3 / self.in_channels), math.sqrt(3 / self.in_channels))
        terms = len(self.weight) if self.factorized else len(self.weight) * self.in_channels
        # A rectified unit's mean square is about a third at offsets of unit length.
        nn.init.uniform_(self.weight, -3 / math.sqrt(terms), 3 / math.sqrt(terms))
        if self.window_log_width is not None:
            nn.init.constant_(self.window_log_width, math.log(_WINDOW_WIDTH))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        features: Tensor,
        source_positions: Tensor,
        query_positions: Tensor,
        neighborhoods: Neighborhoods | AllPairs,
        *,
        density: Tensor | None = None,
        source_weights: Tensor | None = None,
        pair_features: Tensor | None = None,
        extents: Tensor | float | None = None,
    ) -> Tensor:
        """Convolve ``features`` at the sources to the queries.

        Args:
            features: [N, C_in].
            source_positions: [N, D].
            query_positions: [M, D].
            neighborhoods: supports of the M queries among the N sources; ``AllPairs`` goes through the queries in
                blocks and keeps none of their pairs for the backward pass.
            density: [N] sampling density at the sources, for ``reduce="density"``.
            source_weights: [N] weights of a quadrature at the sources, for ``reduce="sum"``.
            pair_features: [E, P] further inputs of the kernel, in the order of the pairs.
            extents: size of the supports for the window, one number or [M]; None takes each support's farthest pair.
                In units of ``scale`` where that differs between the axes.

        Returns:
            [M, C_out].

        Raises:
            TypeError: an argument of another type or dtype.
            ValueError: features or positions are not of this layer's C_in and D, or see ``continuous_conv``.
        """
        expected = {"features": (features, "N, C_in", self.in_channels)}
        expected["source_positions"] = (source_positions, "N, D", self.dim)
        expected["query_positions"] = (query_positions, "M, D", self.dim)
        for name, (tensor, axes, width) in expected.items():
            check_tensor("ContinuousConv", name, tensor)
            if tensor.ndim != 2 or tensor.shape[1] != width:
                raise ValueError(f"ContinuousConv: {name} must be [{axes} = {width}], got shape {tuple(tensor.shape)}")
        if not isinstance(neighborhoods, AllPairs):
            check_neighborhoods("ContinuousConv", neighborhoods)
        elif self.pair_features:
            raise ValueError("ContinuousConv: a kernel with pair_features needs Neighborhoods, got AllPairs")
        given = None if pair_features is None else tuple(pair_features.shape)
        pairs = 0 if isinstance(neighborhoods, AllPairs) else neighborhoods.num_pairs
        if given != ((pairs, self.pair_features) if self.pair_features else None):
            raise ValueError(
                f"ContinuousConv: pair_features must be [E = {pairs}, P = {self.pair_features}], got {given}"
            )
        if self.linear is not None:
            # Features may have another dtype than the parameters, as with full kernels.
            wide = torch.promote_types(features.dtype, self.linear.weight.dtype)
            features = functional.linear(features.to(wide), self.linear.weight.to(wide)).to(features.dtype)
        sizes = None
        if extents is not None and self.window is not None:  # nothing else looks at them
            sizes = given_extents("ContinuousConv", extents, query_positions) / self.scale
        sources, queries = self._scaled(source_positions), self._scaled(query_positions)
        basis, basis_parameters = self._basis_name(), self._basis_parameters()
        if pair_features is None:
            sources, queries = self._lifted(sources, queries)
        elif isinstance(neighborhoods, Neighborhoods):
            seen_sources, seen_queries = self._lifted(sources, queries)
            dtype = compute_dtype(features)
            # Not seen_sources[…], whose gradient adds up in no fixed order.
            pairs_seen = PairInputs(
                seen_sources.index_select(0, neighborhoods.indices),
                seen_queries.index_select(0, neighborhoods.query_indices()),
            )
            z = torch.cat([pairs_seen.relative_positions(dtype), pair_features.to(dtype)], dim=1)
            phi = BASES[basis].evaluate(z, [parameter.to(dtype) for parameter in basis_parameters])
            basis, basis_parameters = GIVEN, [phi]

        def convolve(queries: Tensor, rows: Neighborhoods, sizes: Tensor | None) -> Tensor:
            return continuous_conv(
                features,
                sources,
                queries,
                rows.indices,
                rows.offsets,
                self.weight,
                basis=basis,
                basis_parameters=basis_parameters,
                window=self.window or "none",
                window_parameters=self._window_parameters(),
                extents=sizes,
                density=density,
                source_weights=source_weights,
                reduce=self.reduce,
                impl=self.impl,
            )

        if isinstance(neighborhoods, AllPairs):
            out = _convolve_all_pairs(convolve, neighborhoods, len(features), queries, sizes)
        else:
            out = convolve(queries, neighborhoods, sizes)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def kernel_at(self, relative_positions: Tensor, extents: Tensor | float | None = None) -> Tensor:
        """The learned kernel g at offsets z = query position - source position, to see and to test.

        Args:
            relative_positions: [E, D].
            extents: size of the support, one number or [E]; needed with a window.

        Returns:
            [E, C_out, C_in].

        Raises:
            ValueError: another shape, the layer has a window and no extents are given, or the kernel sees more than
                offsets.
        """
        if self.kernel_inputs != "offset" or self.pair_features:
            raise ValueError("kernel_at: this layer's kernel is not a function of the offset alone")
        check_tensor("kernel_at", "relative_positions", relative_positions)
        if relative_positions.ndim != 2 or relative_positions.shape[1] != self.dim:
            shape = tuple(relative_positions.shape)
            raise ValueError(f"kernel_at: relative_positions must be [E, D = {self.dim}], got shape {shape}")
        z = self._scaled(relative_positions)
        support = None
        if self.window is not None:
            if extents is None:
                raise ValueError("kernel_at: a layer with a window needs the extents of the supports")
            support = given_extents("kernel_at", extents, z, "E") / self.scale
        kernel = Kernel(
            self._basis_name(),
            tuple(self._basis_parameters()),
            self.window or "none",
            tuple(self._window_parameters()),
        )
        phi = kernel.evaluate(PairInputs(torch.zeros_like(z), z, support), self.weight.dtype)
        if self.linear is not None:
            return (phi @ self.weight)[:, :, None] * self.linear.weight
        return torch.einsum("eh,hco->eoc", phi, self.weight)

    def _scaled(self, positions: Tensor) -> Tensor:
        if self.axis_scales is not None:
            return positions / positions.new_tensor(self.axis_scales)
        return positions if self.scale == 1.0 else positions / self.scale

    def _lifted(self, sources: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in more dimensions, whose differences are what the kernel sees: (x, x, 0) - (y, 0, -y)."""
        if self.kernel_inputs == "offset":
            return sources, queries
        lifted_sources = [torch.zeros_like(sources), -sources]
        lifted_queries = [queries, torch.zeros_like(queries)]
        if self.kernel_inputs == "both":
            lifted_sources, lifted_queries = [sources, *lifted_sources], [queries, *lifted_queries]
        return torch.cat(lifted_sources, dim=1), torch.cat(lifted_queries, dim=1)

    def _basis_name(self) -> str:
        return f"mlp_{self.activation}" if self.basis is None else self.basis.name

    def _basis_parameters(self) -> list[Tensor]:
        return list(self.kernel_layers.parameters()) if self.basis is None else self.basis.basis_parameters()

    def _window_parameters(self) -> list[Tensor]:
        return [] if self.window_log_width is None else [self.window_log_width]

    def extra_repr(self) -> str:
        family = f"hidden={self.hidden}, activation={self.activation}" if self.basis is None else self.basis.name
        return (
            f"{self.in_channels}, {self.out_channels}, dim={self.dim}, {family}, window={self.window}, "
            f"reduce={self.reduce}, factorized={self.factorized}, scale={self.axis_scales or self.scale}, "
            f"kernel_inputs={self.kernel_inputs}, pair_features={self.pair_features}"
        )


def _convolve_all_pairs(
    convolve: Callable[[Tensor, Neighborhoods, Tensor | None], Tensor],
    support: AllPairs,
    num_sources: int,
    queries: Tensor,
    sizes: Tensor | None,
) -> Tensor:
    """Blocks of queries one after the other; the backward pass makes each block's pairs again."""
    if (support.num_sources, support.num_queries) != (num_sources, len(queries)):
        raise ValueError(
            f"ContinuousConv: AllPairs is of {support.num_sources} sources and {support.num_queries} queries, "
            f"but there are {num_sources} and {len(queries)}"
        )

    ends = list(support.blocks())
    first, last = ends[0] if ends else (0, 0)
    # Every block has the rows of the first, or fewer: made once, they leave no holes in the heap.
    rows = support.rows(first, last, queries.device)

    def block(start: int, stop: int) -> Tensor:
        of_rows = None if sizes is None else sizes[start:stop]
        own = Neighborhoods(rows.indices[: (stop - start) * num_sources], rows.offsets[: stop - start + 1])
        return convolve(queries[start:stop], own, of_rows)

    if not ends:
        return block(0, 0)
    return torch.cat([checkpoint(block, *of_block, use_reentrant=False, preserve_rng_state=False) for of_block in ends])
