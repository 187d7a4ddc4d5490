"""Contender: one way to compute a layer, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.suite import Pass


@dataclass(frozen=True)
class Contender:
    """A forward pass and what its backward pass differentiates.

    Args:
        forward: computes the output [M, C_out].
        inputs: tensors by name whose gradients the backward pass gives.
        grad_out: [M, C_out], where the backward pass begins.
        same_function: the output is the layer's own, so that it can be compared.
    """

    forward: Callable[[], Tensor]
    inputs: dict[str, Tensor]
    grad_out: Tensor
    same_function: bool = True

    def run(self, passes: Pass) -> dict[str, Tensor]:
        """The output and, after a backward pass, the gradients by name."""
        if passes == "forward":
            with torch.no_grad():
                return {"output": self.forward()}
        out = self.forward()
        gradients = torch.autograd.grad(out, list(self.inputs.values()), self.grad_out)
        named = {f"gradient of {name}": value for name, value in zip(self.inputs, gradients, strict=True)}
        return {"output": out.detach(), **named}
