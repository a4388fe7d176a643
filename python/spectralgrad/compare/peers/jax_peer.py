"""The adapter of JAX: ``jax.numpy.linalg.eigh`` under ``jit(vmap(grad))``, compiled once for each problem."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from ..losses import Array, Loss, Parameters
from . import TITLES, Peer


class JaxOperations:
    def adjoint(self, x: Any) -> Any:
        return jnp.conj(x.T)

    def conj(self, x: Any) -> Any:
        # M and y stay NumPy arrays, because JAX would compile each operation on one of its own arrays.
        return np.conj(x) if isinstance(x, np.ndarray) else jnp.conj(x)

    def exp(self, x: Any) -> Any:
        return jnp.exp(x)

    def real(self, x: Any) -> Any:
        return jnp.real(x)

    def sum(self, x: Any) -> Any:
        return jnp.sum(x)

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * weights


class JaxPeer(Peer):
    label = TITLES["jax"]
    rule = "1/Δ"

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        def value(a: Any) -> Any:
            values, vectors = jnp.linalg.eigh(a)
            return loss.value(JaxOperations(), a, values, vectors, p)

        try:
            # JAX returns the conjugate of PyTorch's complex gradient.
            return list(np.asarray(jax.jit(jax.vmap(jax.grad(value)))(matrices)).conj())
        except Exception as error:
            return [error] * len(matrices)


def create() -> Peer:
    jax.config.update("jax_enable_x64", True)
    # Every problem is compiled for a few small matrices only, so compiling takes nearly all of the time.
    jax.config.update("jax_disable_most_optimizations", True)
    return JaxPeer()
