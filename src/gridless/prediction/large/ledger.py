"""Ledger: the folder beside an output in which its prediction is prepared, and what it is a prediction of."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout

from gridless.io import lack_of_room, replaced_when_complete
from gridless.models import Network

_ABOUT = "prediction.json"
_LOCK = "lock"
# Workers of a killed process hold its lock until they notice, within five seconds.
_WAIT_SECONDS = 8.0


class Ledger:
    """A folder that goes when its ``with`` block ends well, or fails before there is anything worth keeping.

    Args:
        target: the output.
        model: what labels it.
        files: the input and the files around it.
        resume: whether an interrupted prediction may be continued.
        votes: how often each crop is shown.

    Raises:
        ValueError: there is one and it may not, or it was of other files, another model or another number of votes, or
            another process is at work on it.
    """

    def __init__(self, target: Path, model: Network, files: Sequence[Path], resume: bool, votes: int = 1) -> None:
        self.target, self.folder = target, target.parent / f".{target.name}.partial"
        self._is_worth_keeping = False
        about = {"model": _fingerprint(model), "files": [_version(file) for file in files], "votes": votes}
        self.folder.mkdir(exist_ok=True)
        self._lock = FileLock(self.folder / _LOCK)  # the system releases it if this process is killed
        try:
            self._lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout:
            raise ValueError(f"{target} is being labelled by another process; wait until it ends") from None
        try:
            self._open(about, resume)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, about: dict[str, Any], resume: bool) -> None:
        if (self.folder / _ABOUT).exists():
            if not resume:
                raise ValueError(
                    f"{self.folder} holds an interrupted prediction; --resume continues it, "
                    "or delete the folder to start again"
                )
            if json.loads((self.folder / _ABOUT).read_text(encoding="utf-8")) != about:
                raise ValueError(
                    f"{self.folder} was begun with another model, other inputs or votes, or they have changed since; "
                    "delete the folder to start again"
                )
            self.keep()
        else:
            for leftover in self.folder.glob("*"):  # of a removal that was killed
                if leftover.name != _LOCK:
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            with replaced_when_complete(self.folder / _ABOUT) as temporary:
                temporary.write_text(json.dumps(about), encoding="utf-8")

    def keep(self) -> None:
        """From here on there is something to continue."""
        self._is_worth_keeping = True

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not self._is_worth_keeping:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        if error is not None and (lack := lack_of_room(error)):
            kept = f"; {self.folder} keeps what is finished, --resume continues" if self._is_worth_keeping else ""
            raise OSError(f"{self.target}: {lack.problem}: {lack.remedy}{kept}") from error


def _fingerprint(model: Network) -> str:
    digest = hashlib.sha256()
    for name, values in model.state_dict().items():
        digest.update(name.encode())
        # As bytes, since numpy does not know all of torch's dtypes.
        digest.update(values.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(model.metadata, sort_keys=True).encode())
    return digest.hexdigest()


def _version(file: Path) -> list[str | int]:
    status = file.stat()
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]
