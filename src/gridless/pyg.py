"""PyTorch Geometric's ``Data`` to a PointCloud and back; its edges are ``Neighborhoods.from_edge_index``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gridless.cloud import PointCloud
from gridless.errors import UnsupportedError

if TYPE_CHECKING:
    from torch_geometric.data import Data

_ORIGIN = "origin"
_RESERVED = ("pos", _ORIGIN)


def from_data(data: Data) -> PointCloud:
    """A cloud with ``data.pos`` as positions and every other tensor of one row a node as a column of its name.

    Args:
        data: with ``pos`` [N, D]; an attribute ``origin`` [1, D], as :func:`to_data` leaves it, is added to it.

    Returns:
        N points; ``x``, ``y``, ``batch`` and so on are columns. Edges and what belongs to them is left behind.

    Raises:
        ValueError: there is no ``pos``.

    Example:
        >>> from torch_geometric.data import Data
        >>> cloud = from_data(Data(pos=torch.zeros(3, 2), y=torch.tensor([0, 1, 1])))
        >>> cloud.dim, cloud["y"].tolist()
        (2, [0, 1, 1])
    """
    if getattr(data, "pos", None) is None:
        raise ValueError(f"from_data: data has no pos; it has {', '.join(data.keys()) or 'nothing'}")
    positions = data.pos.detach().cpu().double().numpy()
    if _ORIGIN in data:
        positions = positions + data[_ORIGIN].cpu().double().numpy()
    names = [
        name
        for name in data.keys()  # noqa: SIM118 a Data is no mapping
        if name not in _RESERVED and torch.is_tensor(data[name]) and data.is_node_attr(name)
    ]
    return PointCloud(positions, {name: data[name].detach().cpu().numpy() for name in names})


def to_data(cloud: PointCloud) -> Data:
    """A ``Data`` with float32 ``pos`` relative to the cloud's center, which it keeps as ``origin`` [1, D] float64.

    Map coordinates do not fit into float32; :func:`from_data` adds the origin again.

    Args:
        cloud: every column becomes an attribute of its name.

    Raises:
        UnsupportedError: PyTorch Geometric is not installed.
        ValueError: a column is of a kind that torch has no tensors of (text), or called pos or origin.

    Example:
        >>> data = to_data(PointCloud([[6.2e6, 1.0], [6.2e6, 2.0]], {"y": np.array([0, 1])}))
        >>> data.pos.tolist(), data.origin.tolist()
        ([[0.0, -0.5], [0.0, 0.5]], [[6200000.0, 1.5]])
    """
    try:
        from torch_geometric.data import Data
    except ImportError:
        raise UnsupportedError("to_data needs PyTorch Geometric: pip install torch_geometric") from None
    for name in _RESERVED:
        if name in cloud.columns:
            raise ValueError(f"to_data: a column cannot be called {name!r}, which positions take; rename it first")
    origin = cloud.center()
    columns = {name: _tensor(name, values) for name, values in cloud.columns.items()}
    positions = torch.from_numpy(cloud.local_positions(origin))
    return Data(pos=positions, **columns, **{_ORIGIN: torch.from_numpy(origin)[None]})


def _tensor(name: str, values: np.ndarray[Any, Any]) -> torch.Tensor:
    # Unsigned integers of more than a byte have hardly any operations in torch.
    wide = values.astype(np.int64) if values.dtype.kind == "u" and values.dtype.itemsize > 1 else values
    try:
        return torch.from_numpy(np.ascontiguousarray(wide))
    except TypeError:
        raise ValueError(f"to_data: column {name!r} is {values.dtype}, which torch has no tensors of") from None
