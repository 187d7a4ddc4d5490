"""Files to and from `gridless.cloud.PointCloud`: one file per format, chosen by suffix."""

from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks
from gridless.io.formats import SUFFIXES, open, read, write

__all__ = ["SUFFIXES", "PointChunks", "open", "read", "replaced_when_complete", "write"]
