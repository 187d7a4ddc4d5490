"""The kernel as it reaches an implementation: a basis and a window, by name, with their parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gridless.ops.convolution.basis import BASES, GIVEN
from gridless.ops.convolution.windows import NO_WINDOW, WINDOWS


@dataclass(frozen=True)
class PairInputs:
    """What φ depends on, pair by pair (E is the number of pairs at hand).

    Args:
        source_positions: [E, D].
        query_positions: [E, D].
        extents: [E] size of the query's support, for the window; None without a window.
        basis_values: [E, H] for the basis "given", else None.
    """

    source_positions: Tensor
    query_positions: Tensor
    extents: Tensor | None = None
    basis_values: Tensor | None = None

    def relative_positions(self, dtype: torch.dtype) -> Tensor:
        """z = x - y [E, D], subtracted before rounding to ``dtype``: far from the origin only that keeps its digits."""
        wide = torch.promote_types(self.query_positions.dtype, dtype)
        return (self.query_positions.to(wide) - self.source_positions.to(wide)).to(dtype)


@dataclass(frozen=True)
class Kernel:
    """φ as a function of a pair: the names of basis and window and their parameters."""

    basis: str
    basis_parameters: tuple[Tensor, ...]
    window: str
    window_parameters: tuple[Tensor, ...]

    def to(self, dtype: torch.dtype) -> Kernel:
        """The same kernel with its parameters in ``dtype``."""
        return replace(
            self,
            basis_parameters=tuple(parameter.to(dtype) for parameter in self.basis_parameters),
            window_parameters=tuple(parameter.to(dtype) for parameter in self.window_parameters),
        )

    def evaluate(self, pairs: PairInputs, dtype: torch.dtype) -> Tensor:
        """φ_eh = basis_h(x - y) · w(|x - y| / extent), [E, H] in ``dtype``."""
        z = pairs.relative_positions(dtype)
        if self.basis == GIVEN:
            assert pairs.basis_values is not None
            phi = pairs.basis_values.to(dtype)
        else:
            phi = BASES[self.basis].evaluate(z, self.basis_parameters)
        window = self.window_values(z, pairs.extents)
        return phi if window is None else phi * window[:, None]

    def window_values(self, z: Tensor, extents: Tensor | None) -> Tensor | None:
        """w(|z| / extent) of each pair [E]; None where the support is hard."""
        if self.window == NO_WINDOW:
            return None
        assert extents is not None
        # Where all of a support coincides with its query, its extent is 0: u = 0 whatever the extent is taken to be,
        # but dividing by next to nothing would overflow in the derivatives.
        extents = extents.to(z.dtype)
        extents = torch.where(extents > torch.finfo(z.dtype).tiny ** 0.25, extents, 1.0)
        u = z.square().sum(dim=1) / extents.square()
        return WINDOWS[self.window].weigh(u, self.window_parameters)
