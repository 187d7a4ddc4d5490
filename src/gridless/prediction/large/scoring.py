"""What the crops of one tile add to its points: in this process, or wherever a tile and a TileScorer are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data import IGNORED, CoveringCrops, InputSettings, WholeCloud
from gridless.models import Network
from gridless.prediction.ahead import one_ahead
from gridless.prediction.clock import Clock
from gridless.prediction.crops import Progress, add_scores
from gridless.prediction.large.store import axis_cell
from gridless.prediction.large.tiles import Tile
from gridless.prediction.memory import give_back_freed
from gridless.prediction.predict import label_map


@dataclass(frozen=True, eq=False)
class LoadedTile:
    """The n points of a tile and its surroundings, in the order of the file.

    Args:
        number: of the tile.
        tile: the cells whose crops are to be scored.
        places: [n] where the points lie in the store.
        cloud: the points.
        own: [n] which of them belong to the file that is labelled.
    """

    number: int
    tile: Tile
    places: NDArray[np.int64]
    cloud: PointCloud
    own: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TileScorer:
    """All that scoring takes besides the network and the tile.

    Args:
        inputs: what the network sees.
        context: what to call the cloud in messages.
        whole: the cloud that the tiles are cut from.
        low: bounds [D] that the grid of crops is tied to.
        edge: side of a cell.
        points_per_batch: network points that go through the network together, about.
        votes: average over as many turns of each crop.
    """

    inputs: InputSettings
    context: str
    whole: WholeCloud
    low: NDArray[np.float64]
    edge: float
    points_per_batch: int
    votes: int = 1

    def portable(self, example: PointCloud) -> TileScorer:
        """A copy that other processes can use: what features take from the whole cloud is computed beforehand.

        Args:
            example: a point or more of the cloud.
        """
        self.inputs.prepare(example, self.context, whole=self.whole)
        return replace(self, whole=self.whole.without_points())

    def score(self, model: Network, loaded: LoadedTile) -> NDArray[np.float32]:
        """What the crops whose axes stand in the tile add [n, classes] to each of its points."""
        clock = Clock()
        return self.score_crops(model, self.crops(model, loaded, clock), workers=0, progress=None, clock=clock)

    def crops(self, model: Network, loaded: LoadedTile, clock: Clock) -> CoveringCrops:
        """The crops whose axes stand in the tile, its features computed."""
        with clock("features"):
            labels = np.where(loaded.own, 0, IGNORED)
            prepared = self.inputs.prepare(loaded.cloud, self.context, labels, self.whole)
            low = self.low[: prepared.horizontal.shape[1]]
            crops = CoveringCrops(
                [prepared],
                self.inputs,
                model.pyramid_settings,
                self.inputs.crop_radius,
                labelled_only=True,
                low=low,
                votes=self.votes,
            )
            give_back_freed()
        crops.places = [place for place in crops.places if loaded.tile.holds(axis_cell(place[1], self.edge)[None])[0]]
        return crops

    def score_crops(
        self, model: Network, crops: CoveringCrops, workers: int, progress: Progress | None, clock: Clock
    ) -> NDArray[np.float32]:
        """What crops add [n, classes] to the points of the one cloud that they are of."""
        (prepared,) = crops.clouds
        sums = np.zeros((len(prepared), len(label_map(model).names)), np.float32)
        add_scores(
            model,
            crops,
            sums,
            points_per_batch=self.points_per_batch,
            workers=workers,
            progress=progress,
            clock=clock,
        )
        return sums


TileProgress = Callable[[LoadedTile, int, int], None]


class Scoring(Protocol):
    """Scores tiles in any order; takes the next one only when it has room for it."""

    def __call__(
        self, scorer: TileScorer, tiles: Iterable[LoadedTile], progress: TileProgress, clock: Clock
    ) -> Iterator[tuple[LoadedTile, NDArray[np.float32]]]:
        """Each tile with its sums [n, classes]; ``progress`` may be told (tile, crops done, all crops)."""
        ...


def score_here(
    model: Network,
    workers: int,
    scorer: TileScorer,
    tiles: Iterable[LoadedTile],
    progress: TileProgress,
    clock: Clock,
) -> Iterator[tuple[LoadedTile, NDArray[np.float32]]]:
    """Score tile by tile in this process, while the next one is loaded; ``workers`` more prepare crops."""
    for tile, crops in one_ahead((tile, scorer.crops(model, tile, clock)) for tile in tiles):

        def show(done: int, all_crops: int, tile: LoadedTile = tile) -> None:
            progress(tile, done, all_crops)

        yield tile, scorer.score_crops(model, crops, workers, show, clock)
