"""Pages for the browser that need nothing but themselves: a template, figures and the library that draws them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gridless.io.atomic import replaced_when_complete


def write_page(path: str | os.PathLike[str], template: str, figures: Mapping[str, Any], **values: Any) -> None:
    """Fill a template of this package and write it as one HTML file.

    Args:
        path: the file to write.
        template: name of a file in ``templates/``.
        figures: id of the element that shows it -> ``plotly.graph_objects.Figure``.
        values: what else the template shows.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("gridless.viewer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template(template).render(
        # "<" is written as its JSON escape, so that no text in the data can close the script element
        figures={place: Markup(figure.to_json().replace("<", "\\u003c")) for place, figure in figures.items()},
        plotly_bundle=Markup(get_plotlyjs()),
        **values,
    )
    with replaced_when_complete(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
