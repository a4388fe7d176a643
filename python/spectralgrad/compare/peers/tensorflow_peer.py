"""The adapter of TensorFlow: ``tf.linalg.eigh`` under a GradientTape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from ..losses import Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


class TensorFlowOperations:
    def adjoint(self, x: Any) -> Any:
        return tf.linalg.adjoint(x)

    def conj(self, x: Any) -> Any:
        return tf.math.conj(x)

    def exp(self, x: Any) -> Any:
        return tf.exp(x)

    def real(self, x: Any) -> Any:
        return tf.math.real(x)

    def sum(self, x: Any) -> Any:
        return tf.reduce_sum(x)

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * tf.cast(weights, x.dtype)


class TensorFlowPeer(Peer):
    label = TITLES["tensorflow"]
    rule = "Δ/(Δ²+1e-20)"

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        p = replace(p, arrays={name: tf.constant(array) for name, array in p.arrays.items()})

        def gradient(matrix: Array) -> Array:
            a = tf.constant(matrix)
            with tf.GradientTape() as tape:
                tape.watch(a)
                values, vectors = tf.linalg.eigh(a)
                # TensorFlow returns the eigenvalues of a complex matrix as complex numbers.
                value = loss.value(TensorFlowOperations(), a, tf.math.real(values), vectors, p)
            return np.asarray(tape.gradient(value, a))

        return one_by_one(gradient, matrices)


def create() -> Peer:
    tf.config.set_visible_devices([], "GPU")
    return TensorFlowPeer()
