"""The adapter of TensorFlow: the decompositions of ``tf.linalg`` under a GradientTape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from ..loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD, Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


class TensorFlowOperations:
    def adjoint(self, x: Any) -> Any:
        return tf.linalg.adjoint(x)

    def centred(self, points: Any) -> Any:
        return points - tf.reduce_mean(points, axis=0)

    def conj(self, x: Any) -> Any:
        return tf.math.conj(x)

    def exp(self, x: Any) -> Any:
        return tf.exp(x)

    def inv(self, x: Any) -> Any:
        return tf.linalg.inv(x)

    def real(self, x: Any) -> Any:
        return tf.math.real(x)

    def sign_of_det(self, x: Any) -> Any:
        return tf.sign(tf.linalg.det(x))

    def sum(self, x: Any) -> Any:
        return tf.reduce_sum(x)

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * tf.cast(weights, x.dtype)


def _eigh(a: Any) -> tuple[Any, Any]:
    values, vectors = tf.linalg.eigh(a)
    # TensorFlow returns the eigenvalues of a complex matrix as complex numbers.
    return tf.math.real(values), vectors


def _svd(a: Any) -> tuple[Any, Any, Any]:
    s, u, v = tf.linalg.svd(a)
    return u, s, tf.linalg.adjoint(v)


def _eig(a: Any) -> tuple[Any, Any]:
    """Returns the eigenvalues in ascending order of Re + Im, and the eigenvectors."""
    values, vectors = tf.linalg.eig(a)
    order = tf.argsort(tf.math.real(values) + tf.math.imag(values))
    return tf.gather(values, order), tf.gather(vectors, order, axis=1)


def _generalized_eigh(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Solves A v = lambda B v by the Cholesky factor of B."""
    a, b = pair
    factor = tf.linalg.cholesky(b)
    half = tf.linalg.triangular_solve(factor, a)
    values, vectors = _eigh(tf.linalg.triangular_solve(factor, tf.linalg.adjoint(half)))
    return values, tf.linalg.triangular_solve(factor, vectors, adjoint=True)


_DECOMPOSITIONS: dict[str, Callable[[Any], Any]] = {
    EIGH: _eigh,
    SVD: _svd,
    ALIGNMENT: _svd,
    EIG: _eig,
    GENERALIZED: _generalized_eigh,
}


class TensorFlowPeer(Peer):
    label = TITLES["tensorflow"]
    rules = dict.fromkeys((SVD, ALIGNMENT), "d/(d²+1e-20), d = σⱼ² - σᵢ²") | {
        EIGH: "Δ/(Δ²+1e-20)",
        EIG: "Δ/(Δ²+1e-20)",
        GENERALIZED: "Δ/(Δ²+1e-20)",
    }

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        p = replace(p, arrays={name: tf.constant(array) for name, array in p.arrays.items()})

        ops = TensorFlowOperations()

        def gradient(matrix: Array) -> Array:
            a = tf.constant(matrix)
            with tf.GradientTape() as tape:
                tape.watch(a)
                value = loss.value(ops, a, *_DECOMPOSITIONS[loss.task](loss.decomposed(ops, a, p)), p)
            return np.asarray(tape.gradient(value, a))

        return one_by_one(gradient, matrices)


def create() -> Peer:
    tf.config.set_visible_devices([], "GPU")
    return TensorFlowPeer()
