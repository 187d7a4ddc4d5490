"""The page that shows one cloud: points streamed as the camera needs them, colors, classes, values of a point."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.viewer.coloring import Coloring, scale_text
from gridless.viewer.guarded_server import GuardedServer
from gridless.viewer.octree import Octree
from gridless.viewer.pace import Pace
from gridless.viewer.stream import Stream

_EDGE = 10.0  # of the cloud's cube on the page, whose near and far planes are made for scenes of that size
# The address takes the camera of the link that the panel shows. Frames are timed at first and while that changes.
_SCRIPT = """
let frames = 0, since = performance.now(), unreported = 20;
requestAnimationFrame(function count() { frames++; requestAnimationFrame(count); });
setInterval(() => {
  const before = location.search, now = performance.now();
  for (const field of document.querySelectorAll("input")) {
    const [, query] = field.value.split("?initialCameraPosition=");
    if (query) history.replaceState(null, "", "?initialCameraPosition=" + query);
  }
  if (frames && (location.search != before || unreported-- > 0)) fetch("report?" + (now - since) / frames);
  frames = 0, since = now;
}, 300);
"""
_FEWEST = 20_000  # points on the screen, however slow it is
SMALLEST_BUDGET = 50_000  # that the panel's field for the most points takes, and its step
_PICKED_WITHIN = 0.01  # of the distance: how far beside the pointer's ray a point may lie


class CloudPage:
    """Serves a cloud of any number of points that fits into memory.

    Args:
        cloud: N finite points in 3 dimensions.
        ways: name -> function that makes the coloring, when it is first asked for; the first one is shown.
        port: to listen on; 0 takes a free one.
        budget: largest number of points on the screen, at least 50,000; fewer are drawn where frames would take long.

    Raises:
        ValueError: no point, not in 3 dimensions, or not finite.
    """

    def __init__(
        self, cloud: PointCloud, ways: Mapping[str, Callable[[], Coloring]], port: int = 0, budget: int = 1_500_000
    ) -> None:
        if not len(cloud) or cloud.dim != 3:
            raise ValueError(f"view: at least one point in 3 dimensions is needed, got {len(cloud)} in {cloud.dim}")
        cloud.require_finite("view")
        self.cloud, self.budget, self._ways = cloud, budget, ways
        self.pace = _pace_up_to(budget)
        low, high = cloud.positions.min(axis=0), cloud.positions.max(axis=0)
        self.center = (low + high) / 2
        self.scale = _EDGE / max(float((high - low).max()), 1e-9)
        self.points = ((cloud.positions - self.center) * self.scale).astype(np.float32)
        # of points on a surface as wide as the cloud; where fewer are shown, browsers draw one pixel at least
        self._spacing = self.point_size = min(0.05, _EDGE / float(np.sqrt(len(cloud))))
        self.tree = Octree.build(self.points)
        self._made: dict[str, Coloring] = {}
        self.way = next(iter(ways))
        self.hidden: set[int] = set()
        self._streams: dict[int, Stream] = {}
        self.server = GuardedServer(port, _SCRIPT, self._frames_took)
        page = self.server.viser
        page.initial_camera.position = (0.0, -0.75 * _EDGE, 0.5 * _EDGE)
        page.initial_camera.look_at = (0.0, 0.0, 0.0)
        self._add_panel()
        page.on_client_connect(self._connect)
        page.on_client_disconnect(self._disconnect)
        page.scene.on_click()(self._pick)

    @property
    def coloring(self) -> Coloring:
        """The one that is shown."""
        if self.way not in self._made:
            self._made[self.way] = self._ways[self.way]()
        return self._made[self.way]

    def color_by(self, way: str) -> None:
        """Show another coloring, with all its classes."""
        self.way, self.hidden = way, set()
        self._show_legend()
        self._refresh()

    def show_class(self, number: int, shown: bool) -> None:
        """Show or hide the points of a class."""
        (self.hidden.discard if shown else self.hidden.add)(number)
        self._refresh()

    def show_at_most(self, budget: int) -> None:
        """Change the largest number of points on the screen."""
        self.budget, self.pace = budget, _pace_up_to(budget)
        for stream in list(self._streams.values()):
            stream.update()

    def draw_all(self) -> None:
        """Draw as many points as the budget allows, however long frames take."""
        self.pace = Pace(self.budget, self.budget)

    def picked(self, origin: NDArray[np.float64], direction: NDArray[np.float64], nodes: list[int]) -> int | None:
        """Index of the foremost point of these nodes that a ray in the page's frame meets; None if it meets none."""
        if not nodes:
            return None
        rows = np.concatenate([self.rows(node) for node in nodes])
        offset = self.points[rows] - origin
        along = offset @ direction
        beside = np.linalg.norm(offset - along[:, None] * direction, axis=1)
        met = np.flatnonzero((along > 0) & (beside < _PICKED_WITHIN * along))
        if not len(met):
            return None
        # the nearest to the ray among those about as near as the foremost
        front = met[along[met] < along[met].min() * (1 + 2 * _PICKED_WITHIN)]
        return int(rows[front[np.argmin(beside[front] / along[front])]])

    def values_of(self, row: int) -> str:
        """A point's coordinates in its file and its columns, a line each."""
        lines = [f"{axis}: {value:.3f}" for axis, value in zip("xyz", self.cloud.positions[row].tolist(), strict=True)]
        return "\n".join([*lines, *(f"{name}: {values[row]}" for name, values in self.cloud.columns.items())])

    def link(self, camera: Any) -> str:
        """The address at which the page opens with this camera."""
        named = {"Position": camera.position, "LookAt": camera.look_at, "Up": camera.up_direction}
        query = "&".join(
            f"initialCamera{name}=" + ",".join(f"{value:.7g}" for value in vector) for name, vector in named.items()
        )
        return f"{self.server.address}?{query}"

    def is_settled(self) -> bool:
        """Whether every browser has got all points that its camera needs."""
        return bool(self._streams) and all(stream.is_settled for stream in self._streams.values())

    def shows(self, position: NDArray[np.float64], look_at: NDArray[np.float64]) -> bool:
        """Whether every browser has taken this camera, and has got all points that it needs."""
        return bool(self._streams) and all(stream.shows(position, look_at) for stream in list(self._streams.values()))

    def rows(self, node: int) -> NDArray[np.int64]:
        """The points of a node whose classes are shown."""
        rows, group = self.tree.points_of(node), self.coloring.group
        return rows if group is None or not self.hidden else rows[~np.isin(group[rows], list(self.hidden))]

    def _add_panel(self) -> None:
        gui = self.server.viser.gui
        gui.add_text("points", f"{len(self.cloud):,}", disabled=True)
        chosen = gui.add_dropdown("color by", list(self._ways), initial_value=self.way)
        chosen.on_update(lambda _: self.color_by(chosen.value))
        size = gui.add_slider("point size", min=0.2, max=5.0, step=0.1, initial_value=1.0)
        size.on_update(lambda _: self._resize(size.value))
        hint = "fewer where frames take long"
        most = gui.add_number("most points", self.budget, min=SMALLEST_BUDGET, step=SMALLEST_BUDGET, hint=hint)
        most.on_update(lambda _: self.show_at_most(int(most.value)))
        self._legend = gui.add_folder("legend")
        self._legend_parts: list[Any] = []
        self._show_legend()

    def _show_legend(self) -> None:
        for part in self._legend_parts:
            part.remove()
        gui, coloring = self.server.viser.gui, self.coloring
        with self._legend:
            if coloring.scale is not None:
                ramp = "background:linear-gradient(90deg,#440154,#31688e,#35b779,#fde725)"
                ends = scale_text(*coloring.scale)
                text = f"<div style='margin:4px 12px'><div style='height:10px;{ramp}'></div>{ends}</div>"
                self._legend_parts = [gui.add_html(text)]
                return
            self._legend_parts = []
            for number, (name, color, count) in enumerate(coloring.classes):
                swatch = f"<div style='margin:2px 12px;border-left:14px solid {color};padding-left:6px'>"
                self._legend_parts.append(gui.add_html(f"{swatch}{html.escape(name)}: {count:,}</div>"))
                toggle = gui.add_checkbox("show", True, hint=f"points of class {name}")
                toggle.on_update(partial(self._toggled, number))
                self._legend_parts.append(toggle)

    def _connect(self, client: Any) -> None:
        client.camera.max_orbit_distance = 100 * _EDGE
        stream = self._streams[client.client_id] = Stream(self, client)
        client.camera.on_update(lambda _: stream.move())
        stream.update()

    def _disconnect(self, client: Any) -> None:
        stream = self._streams.pop(client.client_id, None)
        if stream is not None:
            stream.close()

    def _frames_took(self, milliseconds: str) -> None:
        """Told by the page's script."""
        streams = list(self._streams.values())
        drawn = max((stream.drawn_since_asked() for stream in streams), default=0)
        with contextlib.suppress(ValueError):
            self.pace.learn(float(milliseconds), drawn)
        for stream in streams:
            stream.update_soon()

    def _pick(self, event: Any) -> None:
        stream = self._streams.get(event.client.client_id)
        if stream is None:
            return
        row = self.picked(np.array(event.ray_origin), np.array(event.ray_direction), list(stream.shown))
        stream.picked.value = "no point there" if row is None else self.values_of(row)

    def _toggled(self, number: int, event: Any) -> None:
        self.show_class(number, event.target.value)

    def _resize(self, factor: float) -> None:
        self.point_size = factor * self._spacing
        for stream in list(self._streams.values()):
            stream.resize()

    def _refresh(self) -> None:
        for stream in list(self._streams.values()):
            stream.update(anew=True)


def _pace_up_to(budget: int) -> Pace:
    return Pace(min(_FEWEST, budget), budget)
