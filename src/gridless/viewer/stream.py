"""Stream: what one browser is sent of a cloud, as its camera moves."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gridless.viewer.octree import Camera

if TYPE_CHECKING:
    from gridless.viewer.cloud_page import CloudPage

_BATCH = 8  # nodes sent before looking whether the camera has moved on
_SAME = 1e-3  # of a camera, relative and in the units of the page: browsers turn it into angles and back
_REST = 1.0  # seconds without a movement after which more points are drawn


class Stream:
    """Follows a browser's camera: sends nodes it lacks, takes away those it no longer needs.

    Of those it has only as many are drawn as the page's pace allows, the most needed first.

    Args:
        page: whose cloud is shown.
        client: of viser.
    """

    def __init__(self, page: CloudPage, client: Any) -> None:
        self.page, self.client = page, client
        self.shown: dict[int, tuple[Any, int]] = {}  # node -> what shows it, and of which coloring
        self.link = client.gui.add_text("link to this view", page.link(client.camera), disabled=True)
        self.picked = client.gui.add_text("picked point", "click on a point", multiline=True, disabled=True)
        self._asked, self._done, self._version = 0, 0, 0
        self._working = threading.Lock()
        self._drawn = self._most_drawn = 0
        self._followed = np.full((2, 3), np.nan)  # where the camera was, and what it looked at
        self._is_closed = False
        self._moved = -_REST
        self._soon = threading.Timer(_REST, self.update)

    @property
    def is_settled(self) -> bool:
        """Whether the browser has, and draws, all points that its camera needs."""
        return not self._is_moving and self._asked == self._done and not self._working.locked()

    def shows(self, position: NDArray[np.float64], look_at: NDArray[np.float64]) -> bool:
        """Whether the browser's camera is this one, and it has, and draws, all points that it needs."""
        return np.allclose(self._followed, (position, look_at), _SAME, _SAME) and self.is_settled

    def drawn_since_asked(self) -> int:
        """The most points that the browser has drawn since the last call."""
        most, self._most_drawn = self._most_drawn, self._drawn
        return most

    def move(self) -> None:
        """Follow the camera, which has just moved."""
        self._moved = time.monotonic()
        self.link.value = self.page.link(self.client.camera)
        self.update()

    def update_soon(self, seconds: float = 0.0) -> None:
        """Bring the browser up to date after so many seconds, in a thread of its own; the last call counts."""
        self._soon.cancel()
        self._soon = threading.Timer(seconds, self.update)
        self._soon.daemon = True
        self._soon.start()

    def update(self, anew: bool = False) -> None:
        """Bring the browser up to date; of calls during one that is under way the last one counts."""
        self._asked += 1
        self._version += anew
        while not self._is_closed and self._done != self._asked and self._working.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._working.release()

    def resize(self) -> None:
        """Give the points that are shown the page's size."""
        for handle, _ in list(self.shown.values()):
            handle.point_size = self.page.point_size

    def close(self) -> None:
        """The browser has gone."""
        self._is_closed = True
        self._soon.cancel()

    @property
    def _is_moving(self) -> bool:
        return time.monotonic() < self._moved + _REST

    def _follow(self) -> None:
        asked, version = self._asked, self._version
        self._followed = np.array([self.client.camera.position, self.client.camera.look_at])
        page, camera = self.page, _camera(self.client.camera)
        needed = page.tree.nodes_for(camera, page.budget)
        if self._is_moving:
            self.update_soon(_REST)
        pace = page.pace.moving if self._is_moving else page.pace.resting
        sizes = np.diff(page.tree.starts)[needed]
        drawn = needed[np.cumsum(sizes) <= pace].tolist()
        for node in set(self.shown) - set(needed.tolist()):
            self.shown.pop(node)[0].remove()
        visible = set(drawn)
        for node, (handle, _) in self.shown.items():
            if handle.visible != (node in visible):
                handle.visible = node in visible
        missing = [node for node in drawn if node not in self.shown or self.shown[node][1] != version]
        self._drawn = int(sizes[: len(drawn)].sum())
        self._most_drawn = max(self._most_drawn, self._drawn)
        for start in range(0, len(missing), _BATCH):
            for node in missing[start : start + _BATCH]:
                self._send(node, version)
            self.client.flush()
            if self._asked != asked:
                return
        self._done = asked

    def _send(self, node: int, version: int) -> None:
        page = self.page
        rows = page.rows(node)
        handle = self.client.scene.add_point_cloud(
            f"/points/{node}",
            page.points[rows],
            page.coloring.colors[rows],
            point_size=page.point_size,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )
        self.shown[node] = handle, version


def _camera(view: Any) -> Camera:
    from viser.transforms import SO3

    rotation = SO3(view.wxyz).as_matrix().astype(np.float64)
    return Camera(np.asarray(view.position), rotation, view.fov, view.image_width, view.image_height)
