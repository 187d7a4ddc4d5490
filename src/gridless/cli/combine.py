"""gridless combine: one model of several."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from gridless.cli.model_argument import load_model_or_run
from gridless.models import Ensemble, save_model


def combine(models: list[Path], output: Path, half: bool = False) -> int:
    """Make one model of several that were trained alike, from other seeds: their probabilities are averaged.

    Args:
        models: model files or folders of runs.
        output: the model file to write; evaluate and predict take it like any other.
        half: write weights in float16, half as many bytes.

    Returns:
        The exit status, 0.
    """
    networks = [load_model_or_run(model) for model in models]
    ensemble = Ensemble(networks)
    temperatures = [network.metadata.get("temperature", 1.0) for network in networks]
    ensemble.metadata["temperature"] = math.exp(sum(map(math.log, temperatures)) / len(networks))
    save_model(output, ensemble, half=half)
    Console().print(f"written: {output}, {len(networks)} networks", soft_wrap=True, markup=False)
    return 0
