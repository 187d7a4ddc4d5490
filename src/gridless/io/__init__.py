"""Files to and from `gridless.cloud.PointCloud`: one file per format, chosen by suffix."""

from gridless.io.atomic import check_target, lack_of_room, remove_leftovers, replaced_when_complete
from gridless.io.chunks import PointChunks
from gridless.io.formats import SUFFIXES, can_stream_to, create, open, read, write

__all__ = [
    "SUFFIXES",
    "PointChunks",
    "can_stream_to",
    "check_target",
    "create",
    "lack_of_room",
    "open",
    "read",
    "remove_leftovers",
    "replaced_when_complete",
    "write",
]
