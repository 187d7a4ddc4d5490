import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    folder = Path(os.environ.get("GRIDLESS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set GRIDLESS_DATA")
    return folder
