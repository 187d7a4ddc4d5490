"""Files that the data entries of a recipe name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from gridless.io import SUFFIXES

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def find_files(entries: Iterable[str], base: Path) -> list[Path]:
    """Files that entries name: files, folders (every readable file directly inside), or patterns with * and ?.

    Args:
        entries: may contain ``${VARIABLE}`` or ``${VARIABLE:-default}``.
        base: folder that relative entries start from.

    Raises:
        ValueError: a variable is not set.
        FileNotFoundError: an entry matches nothing.
    """
    found: list[Path] = []
    for entry in entries:
        pattern = with_variables(entry)
        path = base / pattern
        if path.is_dir():
            visible = [file for file in path.iterdir() if not file.name.startswith(".")]
            matches = [file for file in visible if file.suffix.lower() in SUFFIXES]
        elif path.exists():
            matches = [path]
        else:
            matches = [base / match for match in glob.glob(pattern, root_dir=base)]
        if not matches:
            raise FileNotFoundError(f"no file matches {entry!r} (looked for {path})")
        found += sorted(matches)
    return found


def with_variables(entry: str) -> str:
    """The entry with ``${VARIABLE}`` and ``${VARIABLE:-default}`` replaced; ValueError if one is not set."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name not in os.environ and default is None:
            raise ValueError(f"{entry!r}: environment variable {name} is not set; export {name}=...")
        return os.environ.get(name) or default or ""

    return _VARIABLE.sub(value, entry)
