"""Checkpoints that are whole or not there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gridless.io import replaced_when_complete


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it, so that the former one stays until the new one is whole.

    Lightning's own way goes through the system's temporary folder: where that is another disk, a kill during the copy
    leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # torch would turn a full disk into an error without a number.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replaced_when_complete(target) as temporary:
            temporary.write_bytes(content.getbuffer())
