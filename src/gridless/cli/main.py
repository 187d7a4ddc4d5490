"""The command ``gridless``: finds the command's module, parses its arguments, shows errors without a traceback."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

COMMANDS = {
    "demo": "train and label simulated airborne LiDAR from end to end",
    "train": "train a network as a recipe says",
    "evaluate": "score a model on labelled files",
    "predict": "label files with a model",
    "combine": "make one model of several, whose probabilities are averaged",
    "view": "show clouds in the browser, millions of points at a time",
    "report": "compare trained runs in one page for the browser",
    "info": "show what point-cloud files contain",
    "doctor": "show what this machine can run, and why not",
}
_SHORT = {"output": "-o", "model": "-m"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line; ``sys.argv`` by default.

    Returns:
        The exit status: 0, or what the command returned, 2 for an error of the user's, 130 when interrupted.

    Example:
        >>> main(["--version"])
        gridless 0.1.0
        0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Waiting OpenMP threads that spin for long slow down the processes that prepare crops; threads that sleep at once
    # wake up too late for the next block. A short spin serves both. Read when torch is loaded, so set before.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from gridless import __version__

        print(f"gridless {__version__}")
        return 0
    name, *rest = words
    debug = "--debug" in rest
    rest = [word for word in rest if word != "--debug"]
    try:
        if name not in COMMANDS:
            from gridless.data.settings import unknown_name

            raise ValueError(f"unknown command {unknown_name(name, COMMANDS)}")
        command = getattr(importlib.import_module(f"gridless.cli.{name}"), name)
        return int(command(**_parse(name, command, rest)) or 0)
    except KeyboardInterrupt:
        _show_error("interrupted", "stopped")
        return 130
    except Exception as error:
        from gridless.errors import GridlessError

        if debug or not isinstance(error, (GridlessError, ValueError, OSError, TypeError)):
            raise
        _show_error(str(error) or type(error).__name__, "error")
        return 2


def _help() -> str:
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gridless COMMAND [arguments]",
            "",
            "Deep continuous convolutions on point clouds.",
            "",
            *lines,
            "",
            "gridless COMMAND --help shows a command's arguments; --debug shows where an error comes from.",
        ]
    )


def _parse(name: str, command: Callable[..., Any], words: list[str]) -> dict[str, Any]:
    from jsonargparse import ArgumentParser

    hints = typing.get_type_hints(command)
    parameters = inspect.signature(command).parameters
    values: dict[str, Any] = {}
    if "overrides" in parameters:
        words, values["overrides"] = _taken_overrides(words)
    parser = ArgumentParser(prog=f"gridless {name}", description=(command.__doc__ or "").split("\n\n")[0])
    described = _argument_texts(command)
    # Listed one by one: jsonargparse has no lists of positional arguments.
    required = [p for p in parameters.values() if p.default is inspect.Parameter.empty]
    for position, parameter in enumerate(parameters.values()):
        key, kind, text = parameter.name, hints[parameter.name], described.get(parameter.name)
        if key == "overrides":
            continue
        listed = _list_item(kind)
        if listed is int:
            parser.add_argument(f"--{key}", nargs="+", type=listed, help=text)
        elif listed is not None:
            parser.add_argument(key, nargs="+" if parameter in required else "*", type=listed, help=text)
        elif position == 0 and parameter in required:
            parser.add_argument(key, type=kind, help=text)
        else:
            flags = [f"--{key}"] + ([_SHORT[key]] if key in _SHORT else [])
            if "_" in key:
                flags.append("--" + key.replace("_", "-"))
            extra: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind}
            if parameter in required:
                extra["required"] = True
            else:
                extra["default"] = parameter.default
            parser.add_argument(*flags, help=text, **extra)
    parsed = parser.parse_args(words)
    return values | {key: value for key, value in vars(parsed).items() if key in parameters}


def _list_item(kind: Any) -> Any:
    """``str`` for ``list[str]`` and ``list[str] | None``; None for anything else."""
    for choice in (kind, *typing.get_args(kind)):
        if typing.get_origin(choice) is list:
            return typing.get_args(choice)[0]
    return None


def _taken_overrides(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--a.b value`` and ``--a.b=value`` out of the words."""
    import yaml

    rest: list[str] = []
    overrides: dict[str, Any] = {}
    remaining = iter(words)
    for word in remaining:
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in key:
            rest.append(word)
            continue
        if not equals:
            given = next(remaining, None)
            if given is None:
                raise ValueError(f"{word}: a value is missing")
            value = given
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--{key}: {value!r} is not a value in YAML: {error}") from error
    return rest, overrides


def _argument_texts(command: Callable[..., Any]) -> dict[str, str]:
    from docstring_parser import parse

    return {part.arg_name: part.description or "" for part in parse(command.__doc__ or "").params}


def _show_error(message: str, title: str) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    Console(stderr=True).print(Panel(Text(message), title=title, title_align="left", border_style="red"))


if __name__ == "__main__":
    sys.exit(main())
