"""Batch normalization of one process and of several."""

import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed as dist

from gridless.nn import BatchNorm, synchronize_normalization

CHANNELS = 5


def rows_and_parts():
    """Rows far from zero, and the uneven parts of two processes."""
    rows = torch.randn(37, CHANNELS, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 50.0
    return rows, (rows[:30], rows[30:])


def normalize(norm, rows, weights):
    """Gradients of Σ weights · norm(rows)² with respect to rows, scale and shift, and the statistics left behind."""
    rows = rows.clone().requires_grad_()
    loss = (weights * norm(rows) ** 2).sum()
    return [*torch.autograd.grad(loss, [rows, norm.weight, norm.bias]), norm.running_mean, norm.running_var]


def normalize_a_part(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    rows, parts = rows_and_parts()
    norm = BatchNorm(CHANNELS).double()
    synchronize_normalization(norm)
    weights = torch.sin(rows).split([len(part) for part in parts])[rank]
    results = normalize(norm, parts[rank], weights)
    for gradient in results[1:3]:
        dist.all_reduce(gradient)
    # A process may have no row at all, and all of them together too few for a variance.
    alone = norm(rows[:1] if rank else rows[:0])
    torch.save([*results, alone], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_normalize_as_one_with_all_rows(tmp_path):
    mp.spawn(normalize_a_part, (tmp_path,), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    rows, _ = rows_and_parts()
    norm = BatchNorm(CHANNELS).double()
    expected = normalize(norm, rows, torch.sin(rows))
    torch.testing.assert_close(torch.cat([found[0][0], found[1][0]]), expected[0])
    for rank in (0, 1):
        for mine, whole in zip(found[rank][1:5], expected[1:], strict=True):
            torch.testing.assert_close(mine, whole)
    assert found[0][5].shape == (0, CHANNELS)
    torch.testing.assert_close(found[1][5], norm.eval()(rows[:1]))


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_take_the_running_statistics_and_leave_them(rows):
    norm = BatchNorm(2)
    norm(torch.randn(50, 2) * 3 + 1)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    values = torch.randn(rows, 2)
    out = norm(values)
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())
    torch.testing.assert_close(out, norm.eval()(values))


def test_two_rows_and_more_are_as_in_torch():
    ours, torchs, values = BatchNorm(3), torch.nn.BatchNorm1d(3), torch.randn(2, 3)
    assert torch.equal(ours(values), torchs(values))
    assert torch.equal(ours.running_var, torchs.running_var)
