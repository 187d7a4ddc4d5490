"""The one way this package writes files: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TEMPORARY = re.compile(r"\..*-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\w{8}(\.\w*)?")


@contextlib.contextmanager
def replaced_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that takes its place when the block ends well.

    Args:
        path: the file to write; an existing one is replaced only when the block ends without an exception.

    Yields:
        The path of an empty temporary file with the suffix of ``path``, for a writer that looks at suffixes.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        IsADirectoryError: ``path`` is a folder.
        OSError: the disk is full, or the file too large for it; names the file, which keeps its former content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replaced_when_complete(Path(folder, "result.json")) as temporary:
        ...         _ = temporary.write_text("{}")
        ...     [file.name for file in Path(folder).iterdir()]
        ['result.json']
    """
    target = Path(path)
    check_target(target)
    prefix = f".{target.stem}-{_machine()}-{os.getpid()}-"  # tells remove_leftovers whose it is
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _onto_the_disk(temporary)  # a rename may outlive a power cut that its content does not
        temporary.chmod(_mode_of_result(target))  # at the end: a writer may have made the file anew, and private
        temporary.replace(target)
    except BaseException as error:  # an interrupt too must leave nothing behind
        temporary.unlink(missing_ok=True)
        if lack := lack_of_room(error):
            state = "stays as it was" if target.exists() else "is not written"
            raise OSError(lack.errno, f"{lack.problem}; this file {state}", str(target)) from error
        raise


def check_target(path: Path) -> None:
    """Refuse a path that is a folder, or lies in none.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        IsADirectoryError: ``path`` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of writes that were killed: those of processes of this machine that are gone.

    Args:
        folder: in which files were being replaced; need not exist.
    """
    if os.name != "posix" or not Path(folder).is_dir():
        return
    for file in Path(folder).iterdir():
        match = _TEMPORARY.fullmatch(file.name)
        if match and match["machine"] == _machine() and not _is_alive(int(match["process"])):
            file.unlink(missing_ok=True)


class LackOfRoom(NamedTuple):
    """Why a file cannot grow, in words for messages, and what can be done about it."""

    errno: int
    problem: str
    remedy: str


def lack_of_room(error: BaseException) -> LackOfRoom | None:
    """What an error says if it is that the disk, or the user's share of it, is full, or that a file is too large.

    Example:
        >>> lack_of_room(OSError(errno.ENOSPC, "No space left on device")).problem
        'the disk is full'
        >>> lack_of_room(OSError(errno.EIO, "broken")) is None
        True
    """
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LackOfRoom(error.errno, "the disk is full", "make room")
    if error.errno == errno.EFBIG:
        problem = "the file is larger than its disk or the limit of this process (ulimit -f) allows"
        return LackOfRoom(error.errno, problem, "raise the limit, or take a disk that holds larger files")
    return None


def _mode_of_result(target: Path) -> int:
    """The permissions that an ordinary ``open(target, "w")`` would leave; mkstemp makes files private."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _onto_the_disk(file: Path) -> None:
    with file.open("rb") as content:
        os.fsync(content.fileno())


def _machine() -> str:
    """Within which the numbers of processes are unique: a host, or a container of it."""
    processes = Path("/proc/self/ns/pid")
    space = processes.stat().st_ino if processes.exists() else 0
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
