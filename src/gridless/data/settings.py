"""Typed settings from plain YAML or JSON values, with errors that name the key, its place and the nearest known one.

jsonargparse could parse these dataclasses too; it is used for the command line. Here the message decides: it has to
name the place in the recipe and the nearest known key.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from gridless.errors import RecipeError

T = TypeVar("T")


def settings_from_plain(kind: type[T], value: Any, place: str = "") -> T:
    """Build the dataclass ``kind`` from plain values (dicts, lists, numbers, strings), checking every key and type.

    Args:
        kind: a dataclass; its fields may be dataclasses, lists, tuples, dicts, literals, numbers, strings, or None.
        value: what a YAML or JSON file holds. A dataclass with a ``shorthand`` may be given as that one field's value.
        place: where the value stands, for messages (``"inputs.features[2]"``).

    Raises:
        RecipeError: an unknown or missing key, or a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Circle:
        ...     radius: float
        >>> settings_from_plain(Circle, {"radius": 2})
        Circle(radius=2.0)
        >>> settings_from_plain(Circle, {"radios": 2}, "crop")
        Traceback (most recent call last):
        gridless.errors.RecipeError: crop: unknown key 'radios'; did you mean 'radius'? Known: radius
    """
    result: T = _convert(kind, value, place)
    return result


def plain_from_settings(settings: Any) -> Any:
    """The reverse of :func:`settings_from_plain`: only dicts, lists, numbers, strings, booleans and None.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Sides:
        ...     lengths: tuple[float, ...]
        >>> plain_from_settings(Sides((1.0, 2.0)))
        {'lengths': [1.0, 2.0]}
    """
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {
            field.name: plain_from_settings(getattr(settings, field.name)) for field in dataclasses.fields(settings)
        }
    if isinstance(settings, Mapping):
        return {key: plain_from_settings(item) for key, item in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [plain_from_settings(item) for item in settings]
    return settings


def unknown_name(name: str, known: Iterable[str]) -> str:
    """``'radios'; did you mean 'radius'? Known: ...`` - the second half of a message about a name nobody knows.

    Example:
        >>> unknown_name("intensty", ["intensity", "red"])
        "'intensty'; did you mean 'intensity'? Known: intensity, red"
    """
    names = list(known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return f"{name!r}{hint} Known: {', '.join(names) or 'none'}"


def _convert(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(choice for choice in arguments if choice is not type(None)), value, place)
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{place}: unknown value {unknown_name(str(value), map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, place)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(place, "a list", value)
        if origin is tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise RecipeError(f"{place}: expected {len(arguments)} values, got {len(value)}: {list(value)}")
            item_kinds = arguments
        else:
            item_kinds = (arguments[0],) * len(value)
        return origin(_convert(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(item_kinds, value, strict=True)))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong_type(place, "keys with values", value)
        return {_convert(arguments[0], k, place): _convert(arguments[1], v, _join(place, k)) for k, v in value.items()}
    return _scalar(kind, value, place)


def _dataclass(kind: type, value: Any, place: str) -> Any:
    if isinstance(value, kind):
        return value
    shorthand = getattr(kind, "shorthand", None)
    if shorthand is not None and not isinstance(value, Mapping):
        value = {shorthand: value}
    if not isinstance(value, Mapping):
        raise _wrong_type(place, "keys with values", value)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    where = place or "top level"
    for key in value:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key {unknown_name(key, fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise RecipeError(f"{where}: key {name!r} is missing")
    hints = typing.get_type_hints(kind)
    arguments = {key: _convert(hints[key], item, _join(place, key)) for key, item in value.items()}
    try:
        return kind(**arguments)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _scalar(kind: Any, value: Any, place: str) -> Any:
    if kind is float:
        # YAML 1.1 reads 1e-3 (no dot) as a string; people mean a number.
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise _wrong_type(place, "a number", value) from None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise _wrong_type(place, "a number", value)
    names = {int: "a whole number", str: "a text", bool: "true or false"}
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong_type(place, names.get(kind, str(kind)), value)
    return value


def _join(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _wrong_type(place: str, expected: str, value: Any) -> RecipeError:
    return RecipeError(f"{place or 'top level'}: expected {expected}, got {value!r} ({type(value).__name__})")
