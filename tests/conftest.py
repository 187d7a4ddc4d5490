import os
from pathlib import Path

import pytest

# Triton reads it when it is first imported: its kernels then run on the CPU, in an interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def real_data():
    folder = Path(os.environ.get("GRIDLESS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set GRIDLESS_DATA")
    return folder
