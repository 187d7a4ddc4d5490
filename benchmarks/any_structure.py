"""What other fields use on the data of the examples, on the same splits.

    python -m benchmarks.any_structure gno_block [--split far] [--steps 1400]
    python -m benchmarks.any_structure coulomb_matrices | bags_of_bonds
    python -m benchmarks.any_structure rocket --series TRAIN.ts TEST.ts

neuraloperator comes with the extra "bench"; aeon needs an older NumPy than constraints.txt names.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.rivals import kernel_ridge, rocket
from benchmarks.rivals.gno_block import GNOBlockToField
from examples import holed_poisson, irregular_series, molecular_energies

_DESCRIPTORS = {
    "coulomb_matrices": kernel_ridge.sorted_coulomb_matrices,
    "bags_of_bonds": kernel_ridge.bags_of_bonds,
}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.any_structure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rival", choices=("gno_block", *_DESCRIPTORS, "rocket"))
    parser.add_argument("--data", type=Path, default=os.environ.get("GRIDLESS_DATA", "../shared/data"))
    parser.add_argument("--split", choices=("random", "far"), default="random", help="of holed Poisson")
    parser.add_argument("--steps", type=int, default=1400, help="of the training of gno_block")
    parser.add_argument("--series", type=Path, nargs=2, metavar=("TRAIN", "TEST"), help="files of Japanese Vowels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    if options.rival == "gno_block":
        result = f"relative L2 {field_error(options.data, options.split, options.steps, options.seed):.4f}"
    elif options.rival == "rocket":
        if options.series is None:
            parser.error("rocket needs --series TRAIN TEST")
        training_file, test_file = options.series
        result = f"accuracy {series_accuracy(training_file, test_file, options.seed):.4f}"
    else:
        result = f"MAE {energy_error(options.data, options.rival):.2f} kcal/mol"
    print(f"{options.rival}: {result}, {time.perf_counter() - start:.0f} s")
    return 0


def field_error(data: Path, split: str, steps: int, seed: int) -> float:
    """Relative L2 of neuraloperator's block on holed Poisson, trained as the example trains."""
    torch.manual_seed(seed)
    meshes = holed_poisson.Meshes.read(data)
    training, held_out = meshes.split(split)
    model = GNOBlockToField()
    holed_poisson.train(model, meshes, training, steps, seed)
    return holed_poisson.relative_l2(holed_poisson.predict(model, meshes, held_out), meshes.fields[held_out])


def energy_error(data: Path, descriptor: str) -> float:
    """Mean absolute error of kernel ridge regression on QM7, kcal/mol."""
    molecules = molecular_energies.Molecules.read(data)
    energies = molecules.energies.double().numpy()
    training, held_out = np.split(
        np.random.default_rng(0).permutation(len(energies)), [molecular_energies.NUM_TRAINING]
    )
    predicted = kernel_ridge.predict(_DESCRIPTORS[descriptor](molecules), energies, training, held_out)
    return float(np.abs(predicted - energies[held_out]).mean())


def series_accuracy(training_file: Path, test_file: Path, seed: int) -> float:
    """Accuracy of ROCKET on Japanese Vowels, the same samples dropped."""
    training, held_out = irregular_series.vowels(training_file, test_file)
    return float((rocket.predict(training, held_out, seed) == held_out.labels).mean())


if __name__ == "__main__":
    sys.exit(main())
