"""Many tensors as one, on the way between processes."""

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from gridless.data import Batch
from gridless.data.packed import PackedTensors
from gridless.pyramid import Pyramid, PyramidSettings


def tensors_of(value):
    """All tensors in a batch."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value if isinstance(value, tuple) else vars(value).values() if hasattr(value, "__dict__") else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def batch(points=40):
    positions = torch.rand(points, 3, generator=torch.Generator().manual_seed(0)) * 4
    pyramid = Pyramid.build(positions, PyramidSettings((1.0, 2.0), num_neighbors=5))
    return Batch(torch.randn(points, 2), torch.arange(points), pyramid)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(2.5, dtype=torch.float64),
        torch.empty(0, 3),
        torch.arange(7, dtype=torch.int32),
        torch.tensor([True, False, True]),
        torch.arange(6.0).view(2, 3).T,
        torch.randn(3, 5).to(torch.bfloat16),
        torch.randn(4, requires_grad=True),
    ],
    ids=["number", "empty", "int32", "bool", "transposed", "bfloat16", "leaf"],
)
def test_any_tensor_comes_back(tensor):
    before = torch.arange(3, dtype=torch.uint8)  # three bytes, after which nothing may be out of line
    same, found = PackedTensors.of([before, tensor]).unpacked()
    assert torch.equal(same, before)
    assert found.dtype == tensor.dtype
    torch.testing.assert_close(found, tensor.detach(), rtol=0, atol=0)


def test_tensors_elsewhere_are_left_where_they_are():
    meta = torch.empty(3, device="meta")
    packed = PackedTensors.of({"meta": meta, "here": torch.ones(2)})
    assert len(packed.layout) == 1
    assert packed.unpacked()["meta"].device.type == "meta"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_batch_is_sent_as_one_tensor_and_comes_back_as_it_was(copied):
    given = batch()
    ((packed,),) = given.__reduce__()[1:]
    assert len(packed.layout) == len(tensors_of(given)) == 2 + 4 + 2 * 8
    found = copied(given)
    assert len(found.pyramid.levels) == 3
    for mine, theirs in zip(tensors_of(found), tensors_of(given), strict=True):
        assert torch.equal(mine, theirs)


def test_a_loaders_worker_sends_it():
    given = batch()
    (found,) = DataLoader([given], batch_size=None, num_workers=1)
    for mine, theirs in zip(tensors_of(found), tensors_of(given), strict=True):
        assert torch.equal(mine, theirs)
