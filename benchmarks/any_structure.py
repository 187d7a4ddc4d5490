"""The layer on the data of the examples, and beside it what other fields use there: one row of BENCHMARKS.md a command.

    python -m benchmarks.any_structure holed_poisson [--split far] [--steps 1400]
    python -m benchmarks.any_structure qm7
    python -m benchmarks.any_structure digits
    python -m benchmarks.any_structure vowels --series TRAIN.ts TEST.ts

All contenders of a row are trained and scored one after the other, with the same split and seed; --only takes one of
them. neuraloperator comes with the extra "bench"; aeon needs an older NumPy than constraints.txt names.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rivals import kernel_ridge, rocket
from benchmarks.rivals.gno_block import GNOBlockToField
from examples import holed_poisson, irregular_series, molecular_energies, sparse_digits

#: Of the training on holed Poisson, chosen on a part of the training meshes of each split.
_STEPS = {"random": 1400, "far": 2000}
_DESCRIPTORS = {
    "coulomb_matrices": kernel_ridge.sorted_coulomb_matrices,
    "bags_of_bonds": kernel_ridge.bags_of_bonds,
}
_Measure = Callable[[argparse.Namespace], float]


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.any_structure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data_set", choices=tuple(_CONTENDERS))
    parser.add_argument("--only", metavar="CONTENDER", help="one of them, such as gno_block")
    parser.add_argument("--data", type=Path, default=os.environ.get("GRIDLESS_DATA", "../shared/data"))
    parser.add_argument("--split", choices=tuple(_STEPS), default="random", help="of holed_poisson")
    parser.add_argument("--steps", type=int, help="of the trainings on holed_poisson")
    parser.add_argument("--series", type=Path, nargs=2, metavar=("TRAIN", "TEST"), help="files of vowels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    measure, contenders = _CONTENDERS[options.data_set]
    if options.only is not None and options.only not in contenders:
        parser.error(f"--only: {options.data_set} has {', '.join(contenders)}")
    if options.data_set == "vowels" and options.series is None:
        parser.error("vowels needs --series TRAIN TEST")
    if options.steps is None:
        options.steps = _STEPS[options.split]
    results = []
    for name, contender in contenders.items():
        if options.only in (None, name):
            start = time.perf_counter()
            result = contender(options)
            results.append(f"{name:<24} {result:8.4f}  {time.perf_counter() - start:5.0f} s")
    print(f"{options.data_set}, {measure}, seed {options.seed}", *results, sep="\n")
    return 0


def _layer_on_meshes(options: argparse.Namespace) -> float:
    return holed_poisson.main(options.data, options.steps, options.split, options.seed)


def _gno_block(options: argparse.Namespace) -> float:
    """neuraloperator's block, trained as the example trains."""
    torch.manual_seed(options.seed)
    meshes = holed_poisson.Meshes.read(options.data)
    training, held_out = meshes.split(options.split)
    model = GNOBlockToField()
    holed_poisson.train(model, meshes, training, options.steps, options.seed)
    return holed_poisson.relative_l2(holed_poisson.predict(model, meshes, held_out), meshes.fields[held_out])


def _mean_field(options: argparse.Namespace) -> float:
    meshes = holed_poisson.Meshes.read(options.data)
    training, held_out = meshes.split(options.split)
    return holed_poisson.relative_l2(meshes.fields[training].mean(dim=0), meshes.fields[held_out])


def _layer_on_molecules(options: argparse.Namespace) -> float:
    return molecular_energies.main(options.data, epochs=60, seed=options.seed)


def _kernel_ridge(descriptor: str) -> _Measure:
    def error(options: argparse.Namespace) -> float:
        molecules = molecular_energies.Molecules.read(options.data)
        energies = molecules.energies.double().numpy()
        training, held_out = np.split(
            np.random.default_rng(0).permutation(len(energies)), [molecular_energies.NUM_TRAINING]
        )
        predicted = kernel_ridge.predict(_DESCRIPTORS[descriptor](molecules), energies, training, held_out)
        return float(np.abs(predicted - energies[held_out]).mean())

    return error


def _layer_on_digits(options: argparse.Namespace) -> float:
    return sparse_digits.main(seed=options.seed)


def _nearest_digits(fill: bool) -> _Measure:
    def accuracy(options: argparse.Namespace) -> float:
        images, labels, training, held_out = sparse_digits.digits()
        known = sparse_digits.known_pixels(len(held_out), np.random.default_rng(0))
        found = sparse_digits.nearest_neighbors(images[training], labels[training], images[held_out], known, fill)
        return float((found == labels[held_out]).float().mean())

    return accuracy


def _layer_on_series(options: argparse.Namespace) -> float:
    training_file, test_file = options.series
    return irregular_series.main(training_file, test_file, seed=options.seed)


def _rocket(options: argparse.Namespace) -> float:
    """aeon's ROCKET, the same samples dropped."""
    training, held_out = irregular_series.vowels(*options.series)
    return float((rocket.predict(training, held_out, options.seed) == held_out.labels).mean())


_CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "holed_poisson": (
        "relative L2",
        {"layer": _layer_on_meshes, "gno_block": _gno_block, "mean_field": _mean_field},
    ),
    "qm7": (
        "MAE in kcal/mol",
        {"layer": _layer_on_molecules} | {name: _kernel_ridge(name) for name in _DESCRIPTORS},
    ),
    "digits": (
        "accuracy",
        {
            "layer": _layer_on_digits,
            "neighbors_filled": _nearest_digits(fill=True),
            "neighbors_by_known": _nearest_digits(fill=False),
        },
    ),
    "vowels": ("accuracy", {"layer": _layer_on_series, "rocket": _rocket}),
}


if __name__ == "__main__":
    sys.exit(main())
