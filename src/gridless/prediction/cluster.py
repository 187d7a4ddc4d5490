"""Cluster: tiles scored by the workers of a Ray cluster."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gridless import __version__
from gridless.errors import UnsupportedError
from gridless.models import Network
from gridless.prediction.clock import Clock
from gridless.prediction.large.scoring import LoadedTile, TileProgress, TileScorer

_TILES_A_WORKER = 2  # one that is scored while the next one travels


class Cluster:
    """Workers that hold one network each and score tiles; a lost worker's tiles are done again by its successor.

    Points travel to the workers and scores back, so nothing but the driver needs to see the files. Several files may
    be labelled at once, each by its own thread: they share the workers and the number of tiles on their way.

    Args:
        model: the network.
        address: "local" starts workers on this machine, "auto" takes the cluster that this machine belongs to,
            ``ray://host:port`` one elsewhere.
        num_workers: by default one for every CPU of the cluster. Each computes with one thread, so scores have the bits
            that one thread on one machine gives.

    Raises:
        UnsupportedError: ray is not installed, or the workers have another version of gridless.
        ConnectionError: no cluster at this address.

    Example:
        >>> with Cluster(model, "ray://head:10001") as cluster:  # doctest: +SKIP
        ...     predict_file(model, source, target, memory=4 * 10**9, scoring=cluster)
    """

    def __init__(self, model: Network, address: str = "local", num_workers: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise UnsupportedError("a cluster needs ray: pip install 'gridless[cluster]'") from None
        self._ray: Any = ray
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            ray.init(num_cpus=num_workers, include_dashboard=False, **quiet)
        else:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, ValueError) as error:
                raise ConnectionError(f"no Ray cluster at {address!r}: {error}") from error
        try:
            self.num_workers = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            worker: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
            self._model = ray.put(model)  # kept here for workers that have to start anew
            self._workers: list[Any] = [worker.remote(self._model) for _ in range(self.num_workers)]
            self._check_versions()
        except BaseException:
            ray.shutdown()
            raise
        self._slots = threading.BoundedSemaphore(_TILES_A_WORKER * self.num_workers)
        self._waiting_at: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def __call__(
        self, scorer: TileScorer, tiles: Iterable[LoadedTile], progress: TileProgress, clock: Clock
    ) -> Iterator[tuple[LoadedTile, NDArray[np.float32]]]:
        """Score tiles on the workers; they come back in any order."""
        stored: Any = None
        sent: dict[Any, tuple[LoadedTile, int]] = {}
        upcoming = iter(tiles)
        try:
            while True:
                while not self._slots.acquire(blocking=not sent):
                    yield self._received(sent, clock)
                tile = next(upcoming, None)
                if tile is None:
                    self._slots.release()
                    break
                if stored is None:
                    with clock("surroundings"):
                        stored = self._ray.put(scorer.portable(tile.cloud[:1]))
                worker = self._least_busy()
                sent[self._workers[worker].score.remote(stored, tile)] = tile, worker
            while sent:
                yield self._received(sent, clock)
        finally:
            for _, worker in sent.values():
                self._give_back(worker)

    def _received(self, sent: dict[Any, tuple[LoadedTile, int]], clock: Clock) -> tuple[LoadedTile, Any]:
        with clock("waiting for workers"):
            (ready, *_), _ = self._ray.wait(list(sent), num_returns=1)
            tile, worker = sent.pop(ready)
            self._give_back(worker)
            return tile, self._result(ready)

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def _least_busy(self) -> int:
        with self._lock:
            worker = min(range(self.num_workers), key=lambda index: self._waiting_at[index])
            self._waiting_at[worker] += 1
            return worker

    def _give_back(self, worker: int) -> None:
        with self._lock:
            self._waiting_at[worker] -= 1
        self._slots.release()

    def _check_versions(self) -> None:
        versions = set(self._result([worker.version.remote() for worker in self._workers]))
        if versions != {__version__}:
            raise UnsupportedError(
                f"the cluster's workers have gridless {', '.join(sorted(versions))}, this machine has {__version__}"
            )


class _Worker:
    """A process of the cluster with its own copy of the network."""

    def __init__(self, model: Network) -> None:
        torch.set_num_threads(1)
        self.model = model

    def version(self) -> str:
        return __version__

    def score(self, scorer: TileScorer, tile: LoadedTile) -> NDArray[np.float32]:
        return scorer.score(self.model, tile)
