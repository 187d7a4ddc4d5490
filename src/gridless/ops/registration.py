"""Operators: functions that torch's dispatcher, autograd and compiler know by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from itertools import islice
from typing import Any, Generic, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
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
        self._function: type[torch.autograd.Function] | None = None

    def __call__(self, *arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        if not torch.compiler.is_compiling():
            self._refuse_tangents(*arguments, *options.values())
            if self._function is not None and not options and torch._C._are_functorch_transforms_active():
                # torch.func.grad has to meet the function before the dispatcher does.
                return cast(_Result, _applied(self._function, *_flattened(arguments)))
        result: _Result = self.overload(*arguments, **options)
        return result

    def _refuse_tangents(self, *values: object) -> None:
        """UnsupportedError for forward derivatives, which torch would take to be zero."""
        if getattr(forward_ad, "_current_level", 0) < 0:  # only to save time: outside of forward differentiation
            return
        for value in values:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
                    raise UnsupportedError(
                        f"{self.qualified_name} has no forward derivatives (torch.func.jvp, jacfwd); take gradients "
                        f"(torch.autograd.grad), which can be differentiated again"
                    )

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the function that makes an empty result from inputs without data."""
        torch.library.register_fake(self.qualified_name, function, lib=_library)
        return function

    def register_autograd(self, backward: Callable[..., Any], setup_context: Callable[..., Any]) -> None:
        """Give it gradients, as ``torch.library.register_autograd``, which costs a call with lists 0.2 ms more.

        Which arguments need a gradient, ``backward`` learns from :func:`needs_of_arguments`.

        Raises:
            UnsupportedError: an argument has a default or a keyword only.
        """
        if any(argument.has_default_value() or argument.kwarg_only for argument in self.overload._schema.arguments):
            raise UnsupportedError(f"{self.qualified_name}: arguments must be positional and without defaults")
        self._function = function = _autograd_function(self.overload, backward, setup_context)

        def run(*arguments: Any) -> Any:
            if torch.is_grad_enabled():
                flat, lengths = _flattened(arguments)
                if any(isinstance(value, Tensor) and value.requires_grad for value in flat):
                    return _applied(function, flat, lengths)
            with torch._C._AutoDispatchBelowAutograd():
                return self.overload(*arguments)

        _library.impl(self.overload, run, "Autograd")


def needs_of_arguments(ctx: Any) -> tuple[Any, ...]:
    """For each argument of an operator whether it needs a gradient; for a list, a list of that."""
    return _nested(ctx.needs_input_grad, ctx.lengths)


def operator(
    name: str,
) -> Callable[[Callable[_Arguments, _Result]], Operator[_Arguments, _Result]]:
    """Decorate a function to make an :class:`Operator` of it."""
    return partial(Operator, name)


def _flattened(arguments: Sequence[Any]) -> tuple[list[Any], list[int | None]]:
    """Arguments with lists laid out one after the other, and the lists' lengths; None stands for what is no list."""
    flat: list[Any] = []
    lengths: list[int | None] = []
    for argument in arguments:
        if isinstance(argument, list):
            flat += argument
            lengths.append(len(argument))
        else:
            flat.append(argument)
            lengths.append(None)
    return flat, lengths


def _nested(flat: Sequence[Any], lengths: Sequence[int | None]) -> tuple[Any, ...]:
    """The reverse of ``_flattened``."""
    values = iter(flat)
    return tuple(next(values) if length is None else list(islice(values, length)) for length in lengths)


def _applied(function: type[torch.autograd.Function], flat: list[Any], lengths: list[int | None]) -> Any:
    """What the operator of ``_autograd_function`` gives, recorded for its gradients."""
    output = function.apply(*flat, lengths)
    return list(output) if isinstance(output, tuple) else output


def _autograd_function(
    overload: Any, backward: Callable[..., Any], setup_context: Callable[..., Any]
) -> type[torch.autograd.Function]:
    """A function of ``_flattened`` arguments and their lengths that is differentiated by ``backward``."""

    def forward(*inputs: Any) -> Any:
        *flat, lengths = inputs
        with torch._C._AutoDispatchBelowAutograd():
            output = overload(*_nested(flat, lengths))
        return tuple(output) if isinstance(output, list) else output

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *flat, ctx.lengths = inputs
        ctx.gives_list = isinstance(output, tuple)
        setup_context(ctx, _nested(flat, ctx.lengths), output)

    def differentiate(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        gradients = backward(ctx, list(grads) if ctx.gives_list else grads[0])
        return (*_flattened(gradients)[0], None)

    methods = {"forward": forward, "setup_context": keep, "backward": differentiate}
    methods = {name: staticmethod(method) for name, method in methods.items()}
    # Made by a call, since torch names the nodes of the graph after the class when it is made.
    return type(overload._schema.name.replace("::", "_"), (torch.autograd.Function,), methods)


def _untraced(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """``function``, not looked into by a compiler if one is loaded."""
    disabled: list[Callable[_Arguments, _Result]] = []

    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        if not disabled and "torch._dynamo" in sys.modules:
            disabled.append(torch.compiler.disable(function))
        return (disabled[0] if disabled else function)(*arguments, **options)

    return run
