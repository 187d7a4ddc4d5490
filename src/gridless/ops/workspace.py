"""Memory that is kept from call to call."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

# Numbers in one block's sums, and in its φ and gathered features: small enough for a core's second-level cache.
BLOCK_ELEMENTS = 2**19
# Bytes of the largest buffer that is kept.
_MOST_KEPT = 2**25


class Workspace(threading.local):
    """Buffers kept between blocks and calls: fresh ones cost more in page faults than the arithmetic on them."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialized tensor of ``shape``, valid until ``name`` is taken again in this thread."""
        size = math.prod(shape)
        # A single row longer than a block is rare, and its buffer not worth keeping.
        if size * like.element_size() > _MOST_KEPT:
            return like.new_empty(shape)
        key = (name, like.dtype, like.device)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            # A buffer made in inference mode could not be written to outside it.
            with torch.inference_mode(False):
                buffer = torch.empty(size, dtype=like.dtype, device=like.device)
            self._buffers[key] = buffer
        return buffer[:size].view(shape)
