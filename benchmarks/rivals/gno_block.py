"""neuraloperator's GNO block in the place of our layer: the same lifting, supports, head and training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.holed_poisson import BoundaryToField

_WHOLE_DOMAIN = 2.0


class GNOBlockToField(BoundaryToField):
    """As its parent, with the integral taken by ``neuralop.layers.gno_block.GNOBlock``.

    The block multiplies kernel and features channel by channel, so the two sides are lifted to its width before; it
    takes one mesh at a time.
    """

    def __init__(self, width: int = 64, hidden: tuple[int, ...] = (32, 32)) -> None:
        from neuralop.layers.gno_block import GNOBlock

        super().__init__(width, hidden)
        del self.integral
        self.lifting = nn.Linear(2, width)
        self.block = GNOBlock(
            in_channels=width,
            out_channels=width,
            coord_dim=2,
            radius=_WHOLE_DOMAIN,
            channel_mlp_layers=[*hidden, width],
            channel_mlp_non_linearity=F.silu,
            use_torch_scatter_reduce=False,
            use_open3d_neighbor_search=False,
        )

    def integrate(self, points: Tensor, middles: Tensor, lengths: Tensor, on_square: Tensor) -> Tensor:
        lifted = self.lifting(torch.stack([on_square, ~on_square], dim=1).float())
        seen = [
            self.block(y=sources, x=queries, f_y=lifted * weights[:, None])
            for queries, sources, weights in zip(points, middles, lengths, strict=True)
        ]
        return torch.stack(seen)
