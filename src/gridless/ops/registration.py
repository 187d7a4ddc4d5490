"""Operators: functions that torch's dispatcher, autograd and compiler know by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch.autograd import forward_ad

from gridless.errors import UnsupportedError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NAMESPACE = "gridless"
_library = torch.library.Library(_NAMESPACE, "FRAGMENT")


class Operator(Generic[_Arguments, _Result]):
    """A function that is an opaque operator to torch and writes to none of its arguments.

    What ``torch.library.custom_op`` makes, but that loads torch's compiler (1.7 s, 160 MB) as soon as an operator
    runs, wanted or not.

    Args:
        name: under ``torch.ops.gridless``; exported programs refer to it.
        function: its annotations give the operator's schema.

    Attributes:
        overload: the operator as torch has it.
    """

    def __init__(self, name: str, function: Callable[_Arguments, _Result]) -> None:
        update_wrapper(self, function)
        self.qualified_name = f"{_NAMESPACE}::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, _untraced(function), "CompositeExplicitAutograd")
        self.overload = getattr(getattr(torch.ops, _NAMESPACE), name).default

    def __call__(self, *arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        if not torch.compiler.is_compiling():
            self._refuse_tangents(*arguments, *options.values())
        result: _Result = self.overload(*arguments, **options)
        return result

    def _refuse_tangents(self, *values: object) -> None:
        """UnsupportedError for forward derivatives, which torch would take to be zero."""
        if getattr(forward_ad, "_current_level", 0) < 0:  # only to save time: outside of forward differentiation
            return
        for value in values:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, torch.Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
                    raise UnsupportedError(
                        f"{self.qualified_name} has no forward derivatives (torch.func.jvp, jacfwd); take gradients "
                        f"(torch.autograd.grad), which can be differentiated again"
                    )

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the function that makes an empty result from inputs without data."""
        torch.library.register_fake(self.qualified_name, function, lib=_library)
        return function

    def register_autograd(self, backward: Callable[..., Any], setup_context: Callable[..., Any]) -> None:
        """Give it gradients, as ``torch.library.register_autograd``."""
        torch.library.register_autograd(self.qualified_name, backward, setup_context=setup_context, lib=_library)


def operator(
    name: str,
) -> Callable[[Callable[_Arguments, _Result]], Operator[_Arguments, _Result]]:
    """Decorate a function to make an :class:`Operator` of it."""
    return partial(Operator, name)


def _untraced(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """``function``, not looked into by a compiler if one is loaded."""
    disabled: list[Callable[_Arguments, _Result]] = []

    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        if not disabled and "torch._dynamo" in sys.modules:
            disabled.append(torch.compiler.disable(function))
        return (disabled[0] if disabled else function)(*arguments, **options)

    return run
