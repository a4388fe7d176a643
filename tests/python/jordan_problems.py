"""Problems of part 8 of the comparison, eig near a Jordan block, and their exact gradients."""

from __future__ import annotations

import pytest

from spectralgrad import _high_precision as reference
from spectralgrad.compare import jordan
from spectralgrad.compare.problems import Problem

KINDS = pytest.mark.parametrize("kind", jordan.KINDS)


def find(kind: str, loss: str, gaps: list[str], n: int = 5, precision: str = "double") -> Problem:
    (problem,) = (
        p
        for p in jordan.problems((n,), gaps)
        if (p.meta["kind"], p.loss, p.meta["precision"]) == (kind, loss, precision)
    )
    return problem


def exact_of(problem: Problem) -> list[reference.HighPrecisionMatrix]:
    gradients = [exact.gradient for exact in jordan.JordanReferences().exact(problem)]
    return [gradient for gradient in gradients if gradient is not None]
