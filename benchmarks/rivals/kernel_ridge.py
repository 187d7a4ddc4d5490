"""Kernel ridge regression of molecular energies, with Laplace kernels of two descriptors of a molecule.

Sources: Rupp et al., "Fast and Accurate Modeling of Molecular Atomization Energies with Machine Learning", Physical
Review Letters 108, 2012 (Coulomb matrices); Hansen et al., "Machine Learning Predictions of Molecular Properties",
Journal of Physical Chemistry Letters 6, 2015 (bags of bonds).
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import manhattan_distances

from examples.molecular_energies import ELEMENTS, Molecules

_ANGSTROM_IN_BOHR = 1.8897261
#: Widths in units of the median distance, and penalties: the pair is chosen on a part of the training molecules.
_WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
_PENALTIES = (1e-9, 1e-7, 1e-5, 1e-3)
_NUM_TRIED = 2000
_NUM_VALIDATION = 500


def sorted_coulomb_matrices(molecules: Molecules) -> NDArray[np.float64]:
    """Lower triangles [S, 23·24/2]; rows and columns in falling order of the rows' norms, missing atoms are zeros."""
    size = int(molecules.offsets.diff().max())
    below = np.tril_indices(size)
    found = []
    for matrix, _ in _coulomb_matrices(molecules):
        order = np.argsort(-np.linalg.norm(matrix, axis=1))
        padded = np.zeros((size, size))
        padded[: len(order), : len(order)] = matrix[order][:, order]
        found.append(padded[below])
    return np.stack(found)


def bags_of_bonds(molecules: Molecules) -> NDArray[np.float64]:
    """[S, F]: the Coulomb matrix' entries, a bag for each element and each pair of elements, in falling order."""
    kinds = range(len(ELEMENTS))
    keys: list[tuple[int, ...]] = [(kind,) for kind in kinds]
    keys += itertools.combinations_with_replacement(kinds, 2)
    bags = [_bags(matrix, elements, keys) for matrix, elements in _coulomb_matrices(molecules)]
    sizes = np.array([[len(bag) for bag in of_one] for of_one in bags]).max(axis=0)
    return np.stack(
        [
            np.concatenate([np.pad(bag, (0, size - len(bag))) for bag, size in zip(of_one, sizes, strict=True)])
            for of_one in bags
        ]
    )


def predict(
    descriptors: NDArray[np.float64],
    energies: NDArray[np.float64],
    training: NDArray[np.int64],
    held_out: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Energies of the molecules held out; width and penalty come from the training molecules alone."""
    validation, tried = training[:_NUM_VALIDATION], training[_NUM_VALIDATION:][:_NUM_TRIED]
    among = manhattan_distances(descriptors[tried])
    towards = manhattan_distances(descriptors[validation], descriptors[tried])
    median = float(np.median(among))
    errors = {
        (width, penalty): np.abs(
            _fit_and_predict(among, energies[tried], towards, width * median, penalty) - energies[validation]
        ).mean()
        for width in _WIDTHS
        for penalty in _PENALTIES
    }
    width, penalty = min(errors, key=errors.__getitem__)
    print(f"width {width:g} medians, penalty {penalty:g}", flush=True)
    among = manhattan_distances(descriptors[training])
    towards = manhattan_distances(descriptors[held_out], descriptors[training])
    return _fit_and_predict(among, energies[training], towards, width * median, penalty)


def _fit_and_predict(
    among: NDArray[np.float64],
    energies: NDArray[np.float64],
    towards: NDArray[np.float64],
    width: float,
    penalty: float,
) -> NDArray[np.float64]:
    mean = energies.mean()
    fitted = KernelRidge(alpha=penalty, kernel="precomputed").fit(np.exp(-among / width), energies - mean)
    predicted: NDArray[np.float64] = mean + fitted.predict(np.exp(-towards / width))
    return predicted


def _coulomb_matrices(molecules: Molecules) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Of each molecule: Z_i Z_j / |R_i − R_j| in atomic units with 0.5 Z_i^2.4 on the diagonal, and its elements."""
    found = []
    for sample in range(len(molecules.energies)):
        elements, positions, _ = molecules.take(torch.tensor([sample]))
        charges = np.array(ELEMENTS, dtype=np.float64)[elements.numpy()]
        places = positions.double().numpy() * _ANGSTROM_IN_BOHR
        distances = np.linalg.norm(places[:, None] - places, axis=2)
        np.fill_diagonal(distances, 1.0)
        matrix = charges[:, None] * charges / distances
        np.fill_diagonal(matrix, 0.5 * charges**2.4)
        found.append((matrix, elements.numpy()))
    return found


def _bags(
    matrix: NDArray[np.float64], elements: NDArray[np.int64], keys: list[tuple[int, ...]]
) -> list[NDArray[np.float64]]:
    rows, columns = np.tril_indices(len(elements))
    kinds = np.sort(np.stack([elements[rows], elements[columns]]), axis=0)
    alone = rows == columns
    bags = []
    for key in keys:
        chosen = (alone == (len(key) == 1)) & (kinds[0] == key[0]) & (kinds[1] == key[-1])
        bags.append(-np.sort(-matrix[rows[chosen], columns[chosen]]))
    return bags
