"""The Triton kernels against the plain formula: under Triton's interpreter on the CPU, as they are on a GPU."""

import os

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

from gridless.ops.convolution import triton_kernels  # noqa: E402

CASES = [((3, 0, 1, 7, 2), 4, 6), ((0,) * 17, 3, 1), ((1,) * 33, 17, 16), ((0, 40), 1, 35), ((2,), 16, 19)]


def problem(counts, channels, out_channels, dtype):
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor(counts)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    pairs = torch.randperm(int(offsets[-1]), generator=generator)
    columns = torch.randint(9, pairs.shape, generator=generator)
    phi, values, weight, grad_out = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((len(pairs), 5), (9, channels), (5, channels, out_channels), (len(counts), out_channels))
    )
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    sums = torch.zeros(len(counts), 5, channels, dtype=torch.float64)
    sums.index_add_(0, rows, phi[pairs].double()[:, :, None] * values[columns].double()[:, None, :])
    return [tensor.to(DEVICE) for tensor in (phi, columns, pairs, offsets, values, weight, grad_out)], sums


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("counts", "channels", "out_channels"), CASES)
def test_rows_of_any_length_and_tails_of_channels(counts, channels, out_channels, dtype, tolerance):
    (*slots, weight, grad_out), sums = problem(counts, channels, out_channels, dtype)
    scale = max(sums.abs().max().item(), 1.0) * channels
    out = triton_kernels.contract(*slots, weight).cpu().double()
    expected = torch.einsum("ihc,hco->io", sums, weight.cpu().double())
    torch.testing.assert_close(out, expected, atol=tolerance * scale, rtol=0)
    gradient = triton_kernels.weight_gradient(*slots, grad_out).cpu().double()
    expected = torch.einsum("ihc,io->hco", sums, grad_out.cpu().double())
    torch.testing.assert_close(gradient, expected, atol=tolerance * scale, rtol=0)
