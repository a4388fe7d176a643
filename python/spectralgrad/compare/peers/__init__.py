"""The frameworks that are compared, one small adapter each.

A peer is imported in its own process only (see ``worker``); this module imports none of them.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..losses import Array, Loss, Parameters


class Peer(ABC):
    """A framework that differentiates losses of eigenvalue decompositions."""

    @property
    def variants(self) -> dict[str, str]:
        """Labels of the ways in which this peer divides by a gap, each with the rule in words."""
        return {self.label: self.rule}

    label: str
    rule: str

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the framework and of what it computes with."""

    @abstractmethod
    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        """The gradient by each of the ``matrices`` (b, n, n), in PyTorch's complex convention, or what was raised."""


# Peers in the order in which tables show them: how they are named, and the module to look for.
MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "spectralgrad": "spectralgrad",
}

# Libraries on top of torch that are compared where they have the same functions of a matrix (``functions``).
LIBRARIES = {
    "torchspd": "torchspd",
    "spd-learn": "spd_learn",
    "pot": "ot",
}

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
    """The adapter of a peer. Raises ``ImportError`` where its framework is not installed."""
    module = importlib.import_module(f".{name}_peer", __name__)
    peer = module.create()
    assert isinstance(peer, Peer)
    return peer


def missing(name: str, error: Exception) -> bool:
    """Whether an import failed because the peer itself, and not something that it needs, is not installed."""
    return isinstance(error, ModuleNotFoundError) and error.name == {**MODULES, **LIBRARIES}[name]


def one_by_one(gradient: Any, matrices: Array) -> list[Array | Exception]:
    """``gradient(matrix)`` of each matrix; what one raises does not keep the others from being computed."""
    results: list[Array | Exception] = []
    for matrix in matrices:
        try:
            results.append(gradient(matrix))
        except Exception as error:
            results.append(error)
    return results
