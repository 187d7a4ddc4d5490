"""The layer under DistributedDataParallel: two processes with half of the points each, in Triton's interpreter."""

import socket

import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import gridless as gl
from gridless import gpu


def layer(impl):
    torch.manual_seed(0)
    return gl.nn.ContinuousConv(3, 4, hidden=(5,), window="polynomial", impl=impl)


def loss(convolution, half):
    generator = torch.Generator().manual_seed(half)
    positions, features = torch.rand(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    return convolution(features, positions, positions, gl.knn(positions, positions, 2 + half)).square().mean()


def save_gradients(rank, port, folder):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    convolution = DistributedDataParallel(layer("triton"))
    loss(convolution, rank).backward()
    torch.save({name: weight.grad for name, weight in convolution.module.named_parameters()}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(bool(gpu.why_unavailable()), reason=gpu.why_unavailable())
def test_two_processes_have_the_gradients_of_one(tmp_path, assert_same):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(save_gradients, (port, tmp_path), nprocs=2)
    alone = layer("blocked")
    ((loss(alone, 0) + loss(alone, 1)) / 2).backward()
    expected = {name: weight.grad for name, weight in alone.named_parameters()}
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt"), expected, 1e-5)
