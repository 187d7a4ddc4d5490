"""Several trained runs side by side in one self-contained HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import ArrayLike

from gridless.metrics.segmentation import SegmentationScores
from gridless.viewer.figures import compared_curves_figure, run_color
from gridless.viewer.page import write_page
from gridless.viewer.table import percent

_ABSENT = "–"
_MISSING = object()


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of one run.

    Args:
        name: under which it appears.
        scores: None before it was evaluated.
        scored: what the scores are of: its test files, what its training held aside, or others.
        recipe: its settings as plain values, nested.
        curves: name -> (steps, values).
    """

    name: str
    scores: SegmentationScores | None = None
    scored: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)


def write_comparison(path: str | os.PathLike[str], runs: Sequence[ComparedRun]) -> None:
    """Write scores, recipes' differences and training curves of runs, a column or a color for each.

    Args:
        path: the HTML file to write; it opens in any browser without a network.
        runs: at least one, with names of their own.

    Raises:
        ValueError: no run, or two of one name.
        FileNotFoundError: the folder of ``path`` does not exist.

    Example:
        >>> import tempfile
        >>> runs = [ComparedRun("slow", recipe={"rate": 0.1}), ComparedRun("fast", recipe={"rate": 1.0})]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_comparison(os.path.join(folder, "report.html"), runs)
        ...     os.listdir(folder)
        ['report.html']
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise ValueError(f"write_comparison: runs must be named, each by a name of its own; got {names}")
    curves = {run.name: run.curves for run in runs if run.curves}
    differing, num_equal = differing_settings([run.recipe for run in runs])
    write_page(
        path,
        "comparison.html.jinja",
        {"curves": compared_curves_figure(curves)} if curves else {},
        title=f"{len(runs)} runs side by side" if len(runs) > 1 else names[0],
        runs=[(name, run_color(index)) for index, name in enumerate(names)],
        score_rows=[
            *_score_rows([run.scores for run in runs]),
            ("scored", [(run.scored or _ABSENT, False) for run in runs]),
        ],
        setting_rows=differing,
        num_equal=num_equal,
        unscored=[run.name for run in runs if run.scores is None],
    )


def differing_settings(recipes: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, list[str]]], int]:
    """What recipes do not have in common.

    Args:
        recipes: R nested mappings of plain values.

    Returns:
        (dotted key, R texts) for each setting that differs, and the number of settings that are equal in all. Of lists
        the items that some recipe lacks, a line each.

    Example:
        >>> differing_settings([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {}])
        ([('a.b', ['1', '1', '–']), ('a.c', ['2', '3', '–'])], 0)
        >>> differing_settings([{"files": ["x", "y"]}, {"files": ["x", "z"]}])
        ([('files', ['y\\n1 in common', 'z\\n1 in common'])], 0)
    """
    flat = [dict(_settings(recipe)) for recipe in recipes]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    rows = [(key, [settings.get(key, _MISSING) for settings in flat]) for key in keys]
    differing = [(key, _texts(values)) for key, values in rows if any(value != values[0] for value in values)]
    return differing, len(rows) - len(differing)


def _settings(branch: Mapping[str, Any], parents: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in branch.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{parents}{key}.")
        else:
            yield f"{parents}{key}", value


def _texts(values: Sequence[Any]) -> list[str]:
    if not all(isinstance(value, list) for value in values if value is not _MISSING):
        return [_text(value) for value in values]
    lists = [None if value is _MISSING else [_text(item) for item in value] for value in values]
    common = set.intersection(*(set(items) for items in lists if items is not None))
    return [_ABSENT if items is None else _lines(items, common) for items in lists]


def _lines(items: list[str], common: set[str]) -> str:
    lines = [item for item in items if item not in common]
    if len(lines) < len(items):
        lines.append(f"{len(items) - len(lines)} in common")
    return "\n".join(lines) or "[]"


def _text(value: Any) -> str:
    if value is _MISSING:
        return _ABSENT
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping):
        said = {key: part for key, part in value.items() if part is not None and part != {}}
        return ", ".join(f"{key}: {_text(part)}" for key, part in said.items()) or "{}"
    return json.dumps(value, ensure_ascii=False)


def _score_rows(scores: Sequence[SegmentationScores | None]) -> list[tuple[str, list[tuple[str, bool]]]]:
    """(quantity, [(text, whether it is the best)]) in percent: overall, then the IoU of each class of any run."""
    rows: list[tuple[str, list[float | None]]] = [
        ("mean IoU", [None if of_run is None else of_run.mean_iou for of_run in scores]),
        ("overall accuracy", [None if of_run is None else of_run.overall_accuracy for of_run in scores]),
    ]
    names = dict.fromkeys(name for of_run in scores if of_run for name in of_run.class_names)
    for name in names:
        iou = [dict(zip(of_run.class_names, of_run.iou.tolist(), strict=True)) if of_run else {} for of_run in scores]
        rows.append((f"IoU of {name}", [of_classes.get(name) for of_classes in iou]))
    marked = [
        (label, _with_best_marked([percent(value) if value is not None else _ABSENT for value in values]))
        for label, values in rows
    ]
    points = [(f"{int(of_run.support.sum()):,}" if of_run else _ABSENT, False) for of_run in scores]
    return [*marked, ("points scored", points)]


def _with_best_marked(texts: list[str]) -> list[tuple[str, bool]]:
    # what is printed alike is alike: no run is better by a digit that nobody sees
    values = [float(text) for text in texts if text != _ABSENT]
    best = max(values) if len(set(values)) > 1 else None
    return [(text, text != _ABSENT and float(text) == best) for text in texts]
