"""PyTorch Geometric's Data there and back."""

import numpy as np
import pytest
import torch

import gridless as gl
from gridless.errors import UnsupportedError
from gridless.pyg import from_data, to_data

Data = pytest.importorskip("torch_geometric.data").Data


def test_there_and_back_keeps_map_coordinates_and_columns():
    rng = np.random.default_rng(0)
    columns = {
        "intensity": rng.integers(0, 60000, 40).astype(np.uint16),
        "rgb": rng.random((40, 3)).astype(np.float32),
        "gps_time": rng.random(40) * 1e8,
    }
    cloud = gl.PointCloud(rng.random((40, 3)) * 100 + [6.3e5, 6.2e6, 100.0], columns)
    data = to_data(cloud)
    assert data.pos.dtype == torch.float32
    assert data.num_nodes == 40
    back = from_data(data)
    np.testing.assert_allclose(back.positions, cloud.positions, rtol=0, atol=1e-5)
    for name, values in columns.items():
        np.testing.assert_array_equal(back[name], values)


def test_batches_of_data_are_clouds_side_by_side():
    from torch_geometric.data import Batch

    parts = [Data(pos=torch.randn(n, 3), x=torch.randn(n, 2), edge_index=torch.tensor([[0], [1]])) for n in (5, 7)]
    batch = Batch.from_data_list(parts)
    cloud = from_data(batch)
    assert sorted(cloud.columns) == ["batch", "x"]
    pyramid = gl.Pyramid.build(batch.pos, gl.PyramidSettings(num_neighbors=3), batch.batch)
    assert pyramid.num_clouds == 2
    alone = gl.Pyramid.build(parts[1].pos, gl.PyramidSettings(num_neighbors=3))
    assert torch.equal(pyramid.levels[0].neighborhoods.indices[15:] - 5, alone.levels[0].neighborhoods.indices)


def test_a_layer_on_the_edges_of_data():
    data = Data(pos=torch.randn(6, 3), x=torch.randn(6, 4), edge_index=torch.tensor([[0, 1, 2], [3, 3, 4]]))
    layer = gl.nn.ContinuousConv(4, 8, dim=3, bias=False)
    out = layer(data.x, data.pos, data.pos, gl.Neighborhoods.from_edge_index(data.edge_index, data.num_nodes))
    assert out[3].any()
    assert out[4].any()
    assert not out[[0, 1, 2, 5]].any()


def test_what_cannot_be_converted():
    with pytest.raises(ValueError, match="data has no pos; it has x"):
        from_data(Data(x=torch.zeros(3, 1)))
    with pytest.raises(ValueError, match="column 'name' is <U1"):
        to_data(gl.PointCloud(np.zeros((2, 3)), {"name": np.array(["a", "b"])}))
    with pytest.raises(ValueError, match="a column cannot be called 'origin'"):
        to_data(gl.PointCloud(np.zeros((2, 3)), {"origin": np.zeros(2)}))


def test_one_point_keeps_its_columns_and_gets_no_others():
    back = from_data(to_data(gl.PointCloud([[6.2e6, 1.0, 2.0]], {"y": np.array([7])})))
    assert back.positions.tolist() == [[6.2e6, 1.0, 2.0]]
    assert {name: values.tolist() for name, values in back.columns.items()} == {"y": [7]}


def test_without_pytorch_geometric(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric.data", None)
    with pytest.raises(UnsupportedError, match="pip install torch_geometric"):
        to_data(gl.PointCloud(np.zeros((2, 3))))
