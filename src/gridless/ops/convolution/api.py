"""``continuous_conv``: the function under every continuous convolution, and the choice of its implementation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from gridless import gpu, native
from gridless.arguments import check_tensor
from gridless.errors import UnsupportedError
from gridless.ops.convolution import reference
from gridless.ops.convolution.basis import BASES, GIVEN
from gridless.ops.convolution.kernel import Kernel
from gridless.ops.convolution.operator import continuous_conv_op
from gridless.ops.convolution.windows import NO_WINDOW, WINDOWS
from gridless.ops.extents import given_extents, support_extents
from gridless.ops.operands import check_operands

IMPLEMENTATIONS = ("auto", "reference", "blocked", "native", "triton")
REDUCTIONS = ("mean", "sum", "density")


def available_implementations() -> dict[str, str]:
    """Every implementation's name, with the reason why it cannot run on this machine ("" where it can)."""
    return {
        "reference": "",
        "blocked": "",
        "native": native.why_unavailable(),
        "triton": gpu.why_unavailable(),
    }


def continuous_conv(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    *,
    basis: str = "mlp_relu",
    basis_parameters: Sequence[Tensor] = (),
    window: str = NO_WINDOW,
    window_parameters: Sequence[Tensor] = (),
    extents: Tensor | float | None = None,
    density: Tensor | None = None,
    source_weights: Tensor | None = None,
    reduce: str = "mean",
    impl: str = "auto",
) -> Tensor:
    """Parametric continuous convolution of any points to any points, over given supports.

    out_i = s_i Σ_{j in N(i)} g(x_i - y_j) f_j / p_j,  g(z) = w(|z| / extent_i) Σ_h φ_h(z) W_h, with s_i = 1/|N(i)|
    for "mean" and "density", 1 for "sum"; p_j = 1 except for "density". Empty supports give zeros. With source_weights
    the sum is the quadrature Σ_j g(x_i - y_j) f_j w_j of the integral ∫ g(x_i - y) f(y) dy.

    Args:
        features: [N, C_in] f, in float64, float32, bfloat16 or float16; sums are taken in float32 or wider.
        source_positions: [N, D] y.
        query_positions: [M, D] x.
        indices: [E] int64, source of each pair, row by row.
        offsets: [M + 1] int64, where each query's row of ``indices`` begins.
        weight: [H, C_in, C_out] full kernels, or [H, C] factorized (depth-wise) ones with C_in = C_out = C.
        basis: name of φ, see ``gridless.ops.convolution.basis``; "given" takes φ [E, H] itself as its parameter.
        basis_parameters: tensors that the basis documents.
        window: "none", "gaussian" (parameter: log of the width, as a fraction of the extent) or "polynomial".
        window_parameters: tensors that the window documents.
        extents: size (> 0) of the supports in the unit of the positions, a number or [M]; None takes the distance
            to the farthest pair of each support, 0 for a support of one place. Only windows look at it.
        density: [N] sampling density p at the sources, for ``reduce="density"``.
        source_weights: [N] weights w of a quadrature at the sources (areas, volumes, see ``gridless.quadrature``), for
            ``reduce="sum"``.
        reduce: "mean" (Monte Carlo estimate under uniform sampling), "sum" or "density" (unbiased for known p).
        impl: "reference" (materializes the kernel), "blocked" (torch operations), "native" (compiled, on CPUs),
            "triton" (on GPUs) or "auto", the fastest that can run these inputs.

    Returns:
        [M, C_out] in the dtype of ``features`` (under autocast: in autocast's dtype). Differentiable to any order in
        every floating-point argument.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: shapes that do not belong together, or an unknown name.
        UnsupportedError: the named implementation cannot run these inputs.

    Source:
        Wang et al., "Deep Parametric Continuous Convolutional Neural Networks", CVPR 2018, section 3.

    Example:
        >>> features, positions = torch.ones(3, 1), torch.tensor([[0.0], [1.0], [2.0]])
        >>> indices, offsets = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 2, 4, 4])
        >>> phi = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
        >>> continuous_conv(features, positions, positions, indices, offsets, torch.ones(1, 1, 1),
        ...                 basis="given", basis_parameters=[phi]).tolist()
        [[2.0], [6.0], [0.0]]
    """
    _check(features, source_positions, query_positions, indices, offsets, weight, basis, basis_parameters)
    _check_window(window, window_parameters)
    if reduce not in REDUCTIONS:
        raise ValueError(f"continuous_conv: reduce must be one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    if (density is not None) != (reduce == "density"):
        given = "no density" if density is None else "a density"
        raise ValueError(
            f"continuous_conv: density goes with reduce='density' and only with it, got reduce={reduce!r} and {given}"
        )
    if density is not None:
        if density.shape != features.shape[:1]:
            raise ValueError(
                f"continuous_conv: density must be [N = {features.shape[0]}], got shape {tuple(density.shape)}"
            )
        # Divided before rounding to the features' dtype: densities exceed what float16 can hold.
        features = (features / density[:, None]).to(features.dtype)
    if source_weights is not None:
        if reduce != "sum":
            raise ValueError(f"continuous_conv: source_weights go with reduce='sum' only, got reduce={reduce!r}")
        if source_weights.shape != features.shape[:1]:
            raise ValueError(
                f"continuous_conv: source_weights must be [N = {features.shape[0]}], "
                f"got shape {tuple(source_weights.shape)}"
            )
        features = (features * source_weights[:, None]).to(features.dtype)
    device_type = features.device.type
    # The meta device, on which only shapes are computed, has none.
    has_autocast = torch.amp.is_autocast_available(device_type)
    if has_autocast and torch.is_autocast_enabled(device_type) and features.dtype == torch.float32:
        features = features.to(torch.get_autocast_dtype(device_type))
    support = _extents(extents, window, source_positions, query_positions, indices, offsets)
    if impl == "reference":
        kernel = Kernel(basis, tuple(basis_parameters), window, tuple(window_parameters))
        with torch.autocast(device_type, enabled=False) if has_autocast else nullcontext():
            out = reference.convolve(
                features, source_positions, query_positions, indices, offsets, weight, kernel, support
            )
            if reduce != "sum":
                out = out * offsets.diff().clamp_min(1).to(out.dtype).reciprocal()[:, None]
            out = out.to(features.dtype)
    elif impl in IMPLEMENTATIONS:
        out = continuous_conv_op(
            features, source_positions, query_positions, indices, offsets, weight, support,
            list(basis_parameters), list(window_parameters), basis, window, reduce != "sum", impl,
        )  # fmt: skip
    else:
        reasons = available_implementations()
        raise UnsupportedError(
            f"continuous_conv: impl must be one of {', '.join(IMPLEMENTATIONS)}, got {impl!r}; here: "
            + "; ".join(f"{name}: {reason or 'usable'}" for name, reason in reasons.items())
        )
    return out


def _extents(
    extents: Tensor | float | None,
    window: str,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
) -> Tensor | None:
    """Support size of each query [M], where a window asks for it."""
    if window == NO_WINDOW:
        return None
    if extents is None:
        return support_extents(source_positions, query_positions, indices, offsets)
    return given_extents("continuous_conv", extents, query_positions)


def _check(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    basis: str,
    basis_parameters: Sequence[Tensor],
) -> None:
    """Raise for whatever can be told from shapes, dtypes and names alone."""
    check_operands(
        "continuous_conv",
        indices,
        offsets,
        features=features,
        source_positions=source_positions,
        query_positions=query_positions,
    )
    check_tensor("continuous_conv", "weight", weight)
    if not weight.is_floating_point():
        raise TypeError(f"continuous_conv: weight must be floating point, got {weight.dtype}")
    if weight.ndim not in (2, 3) or weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"continuous_conv: weight must be [H, C_in, C_out] or [H, C_in] with C_in = {features.shape[1]} as in "
            f"features, got shape {tuple(weight.shape)}"
        )
    if weight.numel() == 0:
        raise ValueError(f"continuous_conv: weight must have at least one number, got shape {tuple(weight.shape)}")
    if basis != GIVEN and basis not in BASES:
        raise ValueError(f"continuous_conv: basis must be one of {', '.join([GIVEN, *BASES])}, got {basis!r}")
    if basis == GIVEN and (len(basis_parameters) != 1 or basis_parameters[0].shape != (indices.shape[0], len(weight))):
        shapes = [tuple(parameter.shape) for parameter in basis_parameters]
        raise ValueError(
            f"continuous_conv: basis 'given' takes one tensor [E = {indices.shape[0]}, H = {len(weight)}], got {shapes}"
        )


def _check_window(window: str, parameters: Sequence[Tensor]) -> None:
    if window != NO_WINDOW and window not in WINDOWS:
        raise ValueError(f"continuous_conv: window must be one of {', '.join([NO_WINDOW, *WINDOWS])}, got {window!r}")
    count = 0 if window == NO_WINDOW else WINDOWS[window].num_parameters
    if len(parameters) != count:
        raise ValueError(f"continuous_conv: window {window!r} takes {count} window_parameters, got {len(parameters)}")
