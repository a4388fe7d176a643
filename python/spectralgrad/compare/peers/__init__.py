"""The frameworks that are compared, with one small adapter each.

A framework is imported only in its own process (see ``worker``). This module imports none of them.
"""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..loss import Array, Loss, Parameters


class Peer(ABC):
    """A framework that differentiates losses of eigenvalue and singular value decompositions."""

    @property
    def variants(self) -> dict[str, dict[str, str]]:
        """The labels of this peer's variants by task, each with its division by a gap in words."""
        return {task: {self.label: rule} for task, rule in self.rules.items()}

    label: str
    rules: dict[str, str]

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Returns the versions of the framework and of the packages that it computes with."""

    @abstractmethod
    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        """Returns the gradient for each of the ``matrices`` (b, m, n), or the error that was raised.

        Complex gradients follow PyTorch's convention.
        """

    def gradients_and_warnings(
        self, variant: str, loss: Loss, matrices: Array, p: Parameters
    ) -> tuple[list[Array | Exception], list[str]]:
        """Returns ``gradients``, and for each matrix the warnings that came with it, or an empty text."""
        results: list[Array | Exception] = []
        texts = []
        for matrix in matrices:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                results += self.gradients(variant, loss, matrix[None], p)
            texts.append(warning_text(caught))
        return results, texts


def warning_text(caught: list[warnings.WarningMessage]) -> str:
    """Returns the categories and messages of the warnings."""
    return "; ".join(f"{warning.category.__name__}: {warning.message}" for warning in caught)


# The names of the peers, in the order of the tables, and the modules that must be installed.
MODULES = {"numpy": "numpy", "torch": "torch", "jax": "jax", "tensorflow": "tensorflow", "spectralgrad": "spectralgrad"}

# Libraries on top of torch. Part 5 (``functions``) compares them, because they have functions of a matrix.
LIBRARIES = {"torchspd": "torchspd", "spd-learn": "spd_learn", "pot": "ot"}

TITLES = {
    "numpy": "NumPy + formula",
    "torch": "PyTorch",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "spectralgrad": "spectralgrad",
    "torchspd": "torchspd",
    "spd-learn": "spd-learn",
    "pot": "POT",
}


def create(name: str) -> Peer:
    """Returns the adapter of a peer. Raises ``ImportError`` if its framework is not installed."""
    module = importlib.import_module(f".{name}_peer", __name__)
    peer = module.create()
    assert isinstance(peer, Peer)
    return peer


def missing(name: str, error: Exception) -> bool:
    """Whether an import failed because the peer itself is not installed, rather than a package that it needs."""
    return isinstance(error, ModuleNotFoundError) and error.name == {**MODULES, **LIBRARIES}[name]


def one_by_one(gradient: Any, matrices: Array) -> list[Array | Exception]:
    """Returns ``gradient(matrix)`` for each matrix, or the error that it raised."""
    results: list[Array | Exception] = []
    for matrix in matrices:
        try:
            results.append(gradient(matrix))
        except Exception as error:
            results.append(error)
    return results
