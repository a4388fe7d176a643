"""Part 4: the effect of the dimension, at a fixed tiny gap and for random matrices.

The reference is that of the other parts, with 60 digits from ``_high_precision.eigh_mp``. Its cost grows like n^3: a
few seconds at n = 128 and half a minute at n = 256. Therefore the largest sizes have one matrix instead of three.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .loss import Parameters
from .problems import Problem
from .sweep import gaussian, hermitian_part, matrix_with_cluster

PART = "dimension"
GAP = "1e-10"
NEAR, RANDOM = "a pair at the gap 1e-10", "random"
_MANY_SEEDS_UP_TO = 32


def problems(sizes: tuple[int, ...]) -> Iterator[Problem]:
    """Yields problems with the loss tr(M P) in float64.

    P is the projector onto a near pair (n > 2), or onto the lower half of the eigenvectors of a random matrix.
    """
    for n in sizes:
        seeds = range(3 if n <= _MANY_SEEDS_UP_TO else 1)
        m = hermitian_part(np.random.default_rng([n, 7]).standard_normal((n, n)))
        labels = [f"seed {seed}" for seed in seeds]
        families = {RANDOM: Parameters(0, n // 2, {"M": m})}
        if n > 2:
            families[NEAR] = Parameters(n - 2, n, {"M": m})
        for family, p in families.items():
            matrices = []
            for seed in seeds:
                rng = np.random.default_rng([n, seed, 11])
                if family == NEAR:
                    matrices.append(matrix_with_cluster(n, GAP, "symmetric", rng, size=2))
                else:
                    # The eigenvalues spread over -1 ... 1 at every n (Wigner's semicircle).
                    matrices.append(hermitian_part(gaussian(rng, (n, n), "symmetric")) / np.sqrt(2 * n))
            yield Problem(
                key=f"{PART}/{'near' if family == NEAR else 'random'}/{n}",
                loss="projector",
                matrices=np.stack(matrices),
                parameters=p,
                labels=labels,
                meta={"part": PART, "family": family, "n": n, "precision": "double", "kind": "symmetric"},
            )
