"""One file from its points to its labels: into a store, tile by tile through the network, out again in file order."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data import WholeCloud
from gridless.io import create
from gridless.io import open as open_file
from gridless.models import Network
from gridless.prediction.ahead import OneBehind, one_ahead
from gridless.prediction.clock import Clock
from gridless.prediction.large.ledger import Ledger
from gridless.prediction.large.neighbors import points_around
from gridless.prediction.large.results import Results
from gridless.prediction.large.scores import TileScores
from gridless.prediction.large.scoring import LoadedTile, Scoring, TileScorer, score_here
from gridless.prediction.large.store import PointStore, StoreWriter, cells_of
from gridless.prediction.large.tiles import CrowdedCellError, Tile, cut_tiles
from gridless.prediction.memory import POINTS_AT_A_TIME, give_back_freed, memory_for, text_of
from gridless.prediction.predict import input_settings, label_map, temperature, tempered, with_predictions

StageProgress = Callable[[str, int, int], None]


def predict_in_tiles(
    model: Network,
    source: Path,
    target: Path,
    *,
    points_in_memory: int,
    neighbors: Sequence[Path] = (),
    probabilities: bool = False,
    confidence: bool = False,
    votes: int = 1,
    points_per_batch: int = 16_000,
    workers: int = 0,
    scoring: Scoring | None = None,
    resume: bool = False,
    progress: StageProgress = lambda stage, done, total: None,
    clock: Clock | None = None,
) -> None:
    """Label a file of any size; the result is that of ``predict`` on the whole cloud.

    Until the target is complete, a folder ``.NAME.partial`` beside it holds the points and the scores so far.

    Args:
        model: as for ``predict``.
        source: file to read, chunk by chunk.
        target: LAS, LAZ or PLY file to write.
        points_in_memory: largest number of points in a tile with its surroundings.
        neighbors: files whose points are looked at beyond the borders of ``source``. One that lacks an optional column
            of the source, or has one of another dtype, is left out with a warning: its values could not be compared.
        probabilities: also write the probability of every class.
        confidence: also write the probability of the chosen class.
        votes: average over as many turns of each crop.
        points_per_batch: network points that go through the network together, about.
        workers: processes that prepare crops.
        scoring: who scores the tiles with ``model``; by default this process.
        resume: go on with what an interrupted prediction left.
        progress: called with (stage, points done, all points).
        clock: adds up seconds by stage.

    Raises:
        ReadError: the source is damaged.
        ValueError: NaN coordinates, a missing column (of a neighbor too), too little memory for a crop, or an
            interrupted prediction that is in the way (without ``resume``) or is of something else (with it).
        OSError: the disk is full; what is finished is kept for ``resume``.
    """
    clock = Clock() if clock is None else clock
    inputs, labels = input_settings(model), label_map(model)
    edge = inputs.crop_radius
    reach = inputs.crop_radius + inputs.feature_reach()
    halo = math.ceil(reach / edge)
    with Ledger(target, model, [source, *neighbors], resume, votes) as ledger:
        if not PointStore.exists(ledger.folder):
            with clock("reading"):
                _store_points(model, source, neighbors, ledger.folder, edge, reach, len(labels.names), progress)
                give_back_freed()
        store = PointStore.open(ledger.folder)
        try:
            tiles = cut_tiles(store.cells, store.counts, halo, points_in_memory)
        except CrowdedCellError as error:
            needed = text_of(memory_for(error.points, len(labels.names)))
            raise ValueError(f"{source}: {error}; allow {needed} (--memory)") from None
        ledger.keep()
        scores = TileScores(ledger.folder / f"scores-{points_in_memory}", len(labels.names))
        whole = WholeCloud(store.low, store.high, store.blocks)
        work = _Tiles(store, tiles, halo, scores, clock)
        scorer = TileScorer(inputs, str(source), whole, store.own_low, edge, points_per_batch, votes)
        inner = [len(store.places(tile.low, tile.high, own=True)) for tile in tiles]
        unscored = [number for number in range(len(tiles)) if not scores.is_done(number)]
        done = store.num_own - sum(inner[number] for number in unscored)

        def show(tile: LoadedTile, crops: int, all_crops: int) -> None:
            progress("labeling", done + inner[tile.number] * crops // all_crops, store.num_own)

        progress("labeling", done, store.num_own)
        scoring = partial(score_here, model, workers) if scoring is None else scoring
        with OneBehind() as behind:
            for tile, sums in scoring(scorer, work.load(unscored), show, clock):
                behind(work.keep, tile, sums)
                done += inner[tile.number]
                progress("labeling", done, store.num_own)
                del tile, sums  # otherwise they would stay in memory while the next tile is scored
        results = Results(ledger.folder / "probabilities.bin", len(labels.names))
        with clock("adding up"):
            work.add_up(results, temperature(model))
        with clock("writing"):
            with_columns = partial(with_predictions, labels=labels, probabilities=probabilities, confidence=confidence)
            # Within the folder, where a kill leaves nothing that the next run does not clear away.
            complete = ledger.folder / f"output{target.suffix}"
            _write(source, complete, store, results, with_columns, progress)
            complete.replace(target)


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The tiles of a store between the disk and whoever scores them."""

    store: PointStore
    tiles: list[Tile]
    halo: int
    scores: TileScores
    clock: Clock

    def load(self, numbers: Iterable[int]) -> Iterator[LoadedTile]:
        """Tiles with their surroundings, one after the other."""
        for number in numbers:
            with self.clock("loading tiles"):
                places, records = self._in_file_order(self.tiles[number].grown(self.halo))
                cloud = self.store.cloud(records)
                del records
            yield LoadedTile(number, self.tiles[number], places, cloud, places < self.store.num_own)

    def keep(self, loaded: LoadedTile, sums: NDArray[np.float32]) -> None:
        """Keep what the crops of a tile add [n, classes] to its points and those around it."""
        with self.clock("keeping scores"):
            touched = loaded.own & (sums > 0).any(axis=1)
            cells = cells_of(loaded.cloud.positions, self.store.edge)
            around = loaded.tile.grown(self.halo)
            for target, other in enumerate(self.tiles):
                if other.meets(around):
                    rows = np.flatnonzero(touched & other.holds(cells))
                    if len(rows):
                        self.scores.add(loaded.number, target, loaded.places[rows], sums[rows])
            self.scores.finish(loaded.number)
        give_back_freed()

    def add_up(self, results: Results, temperature: float) -> None:
        """Results of every point from what all tiles have added to it."""
        for number, tile in enumerate(self.tiles):
            places = self.store.places(tile.low, tile.high, own=True)
            sources = [source for source, other in enumerate(self.tiles) if other.meets(tile.grown(self.halo))]
            if len(places):
                results.put(places, tempered(self.scores.sums(number, sources, places), temperature))

    def _in_file_order(self, box: Tile) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Places and records in a box in the order of the file, so that means are rounded as in the whole cloud."""
        places = self.store.places(box.low, box.high)
        records = self.store.load(places)
        order = np.argsort(records["index"], kind="stable")
        return places[order], records[order]


def _store_points(
    model: Network,
    source: Path,
    neighbors: Sequence[Path],
    folder: Path,
    edge: float,
    reach: float,
    num_classes: int,
    progress: StageProgress,
) -> None:
    inputs = input_settings(model)
    writer = StoreWriter(folder, edge, POINTS_AT_A_TIME, inputs.columns)
    with open_file(source, chunk_size=POINTS_AT_A_TIME) as chunks:
        bytes_per_point = 32 + 8 * len(inputs.columns) + 8 * num_classes + 60
        _check_free_space(folder, source, len(chunks) * bytes_per_point)
        for number, chunk in enumerate(one_ahead(chunks)):
            if number == 0:
                inputs.prepare(chunk[:1], str(source))  # names a missing column before everything is read
            writer.append(chunk, own=True, context=_rows_of(source, number * POINTS_AT_A_TIME))
            progress("reading", writer.num_points, len(chunks))
    if writer.own_bounds is None:
        raise ValueError(f"{source} has no points")
    own_low, own_high = writer.own_bounds
    # The axis of a crop stands up to half a cell outside the points that it is there for.
    for neighbor in neighbors:
        for part in points_around(neighbor, own_low, own_high, reach + edge / 2):
            if not len(part):
                continue
            inputs.prepare(part[:1], str(neighbor))  # names a missing column
            if (difference := writer.difference(part)) is not None:
                warnings.warn(f"{neighbor}: {difference} as in {source}, which does not see its points", stacklevel=3)
                break
            writer.append(part, own=False, context=str(neighbor))
    writer.finish()


def _write(
    source: Path,
    target: Path,
    store: PointStore,
    results: Results,
    with_columns: Callable[..., PointCloud],
    progress: StageProgress,
) -> None:
    with open_file(source, chunk_size=store.chunk_size) as chunks, create(target, len(chunks)) as append:

        def labelled() -> Iterator[PointCloud]:
            first = 0
            for chunk in chunks:
                places = np.arange(first, first + len(chunk))
                row_of_place = store.load(places)["index"] - first
                yield with_columns(chunk, scores=results.of_chunk(first, row_of_place))
                first += len(chunk)

        written = 0
        for chunk in one_ahead(labelled()):
            append(chunk)
            written += len(chunk)
            progress("writing", written, len(chunks))


def _rows_of(source: Path, first: int) -> str:
    return f"{source}, rows from {first}" if first else str(source)


def _check_free_space(folder: Path, source: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"about {text_of(needed)} are needed beside the output while {source} is labelled, {text_of(free)} are free"
        )
