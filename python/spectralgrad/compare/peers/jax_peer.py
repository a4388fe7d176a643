"""The adapter of JAX: its ``eigh`` and ``svd`` under ``jit(vmap(grad))``, compiled once for each problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from ..loss import ALIGNMENT, EIGH, SVD, Array, Loss, Parameters
from . import TITLES, Peer


class JaxOperations:
    def adjoint(self, x: Any) -> Any:
        return jnp.conj(x.T)

    def centred(self, points: Any) -> Any:
        return points - points.mean(axis=0)

    def conj(self, x: Any) -> Any:
        # M and y stay NumPy arrays, because JAX would compile each operation on one of its own arrays.
        return np.conj(x) if isinstance(x, np.ndarray) else jnp.conj(x)

    def exp(self, x: Any) -> Any:
        return jnp.exp(x)

    def real(self, x: Any) -> Any:
        return jnp.real(x)

    def sign_of_det(self, x: Any) -> Any:
        return jnp.sign(jnp.linalg.det(x))

    def sum(self, x: Any) -> Any:
        return jnp.sum(x)

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * weights


def _svd(a: Any) -> tuple[Any, Any, Any]:
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    return u, s, vh


_DECOMPOSITIONS: dict[str, Callable[[Any], Any]] = {EIGH: jnp.linalg.eigh, SVD: _svd, ALIGNMENT: _svd}


class JaxPeer(Peer):
    label = TITLES["jax"]
    rules = dict.fromkeys((SVD, ALIGNMENT), "1/((σⱼ - σᵢ)(σⱼ + σᵢ))") | {EIGH: "1/Δ"}

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        def value(a: Any) -> Any:
            ops = JaxOperations()
            return loss.value(ops, a, *_DECOMPOSITIONS[loss.task](loss.decomposed(ops, a, p)), p)

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
