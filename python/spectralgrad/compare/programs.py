"""Part 1: the three small programs of the question, as they stand and corrected, and the same in other frameworks.

The question is why TensorFlow's and PyTorch's gradients of an eigenvalue seem to differ from the analytic v v^T. Each
program is executed as text in its framework's process, so that it raises the same error as for any user. A program may
set ``eigenvalues`` (n), ``eigenvectors`` (n, n) and ``gradient`` (n, n). The matrix is the one from the question, or
another one that is not symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SYMMETRIC = np.array([[2.0, 0.1], [0.1, 1.0]])
NOT_SYMMETRIC = np.array([[2.0, 1.0], [0.1, 1.0]])

# The gradients with which programs are compared.
IDENTITY = "identity"
VECTOR = "v vᵀ"
LEFT_RIGHT = "left rightᵀ"


@dataclass(frozen=True)
class Program:
    """A program. ``wanted`` names the right gradient, and ``explanation`` says what the program shows."""

    key: str
    peer: str
    title: str
    wanted: str
    explanation: str
    source: str


_BEGINNINGS = {
    "numpy": "import numpy as np\n\nA = np.array({})",
    "tensorflow": "import tensorflow as tf\n\nA = tf.Variable({}, dtype=tf.float64)",
    "torch": "import torch\n\nA = torch.tensor({}, dtype=torch.float64, requires_grad=True)",
    "jax": "import jax\nimport jax.numpy as jnp\n\nA = jnp.array({})",
    "spectralgrad": "import spectralgrad as sg\nimport torch\n\n"
    "A = torch.tensor({}, dtype=torch.float64, requires_grad=True)",
}


def _program(key: str, peer: str, title: str, wanted: str, explanation: str, lines: str) -> Program:
    """Puts the imports and the matrix in front of the lines of a program."""
    matrix = NOT_SYMMETRIC if wanted == LEFT_RIGHT else SYMMETRIC
    return Program(key, peer, title, wanted, explanation, f"\n{_BEGINNINGS[peer].format(matrix.tolist())}{lines}")


PROGRAMS = (
    _program(
        "numpy as it stands",
        "numpy",
        "as it stands: eig and v vᵀ",
        VECTOR,
        "Right: the formula v vᵀ holds for a symmetric matrix. But `eig` promises no order of the eigenvalues. The "
        "sign of v is arbitrary, but it cancels in v vᵀ.",
        """
eigenvalues, eigenvectors = np.linalg.eig(A)
gradients = [np.outer(v, v) for v in eigenvectors.T]
gradient = gradients[np.argmax(eigenvalues)]
""",
    ),
    _program(
        "numpy corrected",
        "numpy",
        "corrected: eigh and v vᵀ",
        VECTOR,
        "`eigh` returns the eigenvalues in ascending order, so the last one is the largest in every framework.",
        """
eigenvalues, eigenvectors = np.linalg.eigh(A)
gradient = np.outer(eigenvectors[:, -1], eigenvectors[:, -1])
""",
    ),
    _program(
        "tensorflow as it stands",
        "tensorflow",
        "as it stands: eig, the sum of the eigenvalues",
        IDENTITY,
        "Right, but for another loss. The sum of the eigenvalues is the trace, and the gradient of the trace is the "
        "identity for all eigenvalues and eigenvectors. This loss cannot show any difference.",
        """
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eig(A)
    loss = tf.reduce_sum(eigenvalues)
gradient = tape.gradient(loss, A)
""",
    ),
    _program(
        "tensorflow corrected",
        "tensorflow",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "The same as v vᵀ, but folded: TensorFlow adds the upper triangle to the lower one, so the off-diagonal entry "
        "appears once and doubled. Half the sum of the gradient and its transpose is v vᵀ.",
        """
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eigh(A)
    loss = eigenvalues[-1]
gradient = tape.gradient(loss, A)
""",
    ),
    _program(
        "torch as it stands",
        "torch",
        "as it stands: eig, the sum of the eigenvalues",
        IDENTITY,
        "`eig` returns complex numbers even if the eigenvalues are real. A complex loss has no gradient, so PyTorch "
        "raises an error.",
        """
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.sum()
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "torch with .real",
        "torch",
        "made to run: its real part",
        IDENTITY,
        "With `.real` the program runs. It gives the identity, for the same reason as TensorFlow's program.",
        """
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.real.sum()
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "torch corrected",
        "torch",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles.",
        """
eigenvalues, eigenvectors = torch.linalg.eigh(A)
loss = eigenvalues[-1]
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "jax as it would stand",
        "jax",
        "the same: eig, the sum of the eigenvalues",
        IDENTITY,
        "JAX does not differentiate `eig` when it computes eigenvectors, even if only the eigenvalues are used. It "
        "does so with `jax.lax.linalg.eig(…, enable_eigvec_derivs=True)`.",
        """
eigenvalues, eigenvectors = jnp.linalg.eig(A)
gradient = jax.grad(lambda a: jnp.sum(jnp.linalg.eig(a)[0]))(A)
""",
    ),
    _program(
        "jax with eigvals",
        "jax",
        "with eigvals: their sum",
        IDENTITY,
        "`eigvals` has a gradient, but JAX needs a real loss, too.",
        """
eigenvalues = jnp.linalg.eigvals(A)
gradient = jax.grad(lambda a: jnp.sum(jnp.linalg.eigvals(a)))(A)
""",
    ),
    _program(
        "jax corrected",
        "jax",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles.",
        """
eigenvalues, eigenvectors = jnp.linalg.eigh(A)
gradient = jax.grad(lambda a: jnp.linalg.eigh(a)[0][-1])(A)
""",
    ),
    _program(
        "spectralgrad as it stands",
        "spectralgrad",
        "the same with sg.eig: the sum of the eigenvalues",
        IDENTITY,
        "PyTorch's program with `sg.eig`, and PyTorch's error: a complex loss has no gradient.",
        """
eigenvalues, eigenvectors = sg.eig(A)
loss = eigenvalues.sum()
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "spectralgrad with .real",
        "spectralgrad",
        "made to run: its real part",
        IDENTITY,
        "The identity, the gradient of the trace.",
        """
eigenvalues, eigenvectors = sg.eig(A)
loss = eigenvalues.real.sum()
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "spectralgrad",
        "spectralgrad",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles. The two eigenvalues are far apart, so every rule gives the same.",
        """
eigenvalues, eigenvectors = sg.eigh(A)
loss = eigenvalues[-1]
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "numpy not symmetric, v vT",
        "numpy",
        "not symmetric: v vᵀ",
        LEFT_RIGHT,
        "Wrong: v vᵀ is the gradient of an eigenvalue only if its left and right eigenvectors are equal.",
        """
eigenvalues, eigenvectors = np.linalg.eig(A)
v = eigenvectors[:, np.argmax(eigenvalues)]
gradient = np.outer(v, v)
""",
    ),
    _program(
        "numpy not symmetric",
        "numpy",
        "not symmetric: left rightᵀ",
        LEFT_RIGHT,
        "Right: the left vector is a row of V⁻¹, normalised by left·right = 1.",
        """
eigenvalues, eigenvectors = np.linalg.eig(A)
k = np.argmax(eigenvalues)
gradient = np.outer(np.linalg.inv(eigenvectors)[k], eigenvectors[:, k])
""",
    ),
    _program(
        "tensorflow not symmetric",
        "tensorflow",
        "not symmetric: eig, the largest eigenvalue",
        LEFT_RIGHT,
        "TensorFlow's `eig` uses the general formula, left rightᵀ.",
        """
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eig(A)
    loss = tf.reduce_max(tf.math.real(eigenvalues))
gradient = tape.gradient(loss, A)
""",
    ),
    _program(
        "torch not symmetric",
        "torch",
        "not symmetric: eig, the largest eigenvalue",
        LEFT_RIGHT,
        "The general formula, left rightᵀ.",
        """
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.real.max()
loss.backward()
gradient = A.grad
""",
    ),
    _program(
        "jax not symmetric",
        "jax",
        "not symmetric: eigvals, the largest one",
        LEFT_RIGHT,
        "The general formula, left rightᵀ, through `eigvals` and its real part.",
        """
eigenvalues = jnp.linalg.eigvals(A)
gradient = jax.grad(lambda a: jnp.max(jnp.real(jnp.linalg.eigvals(a))))(A)
""",
    ),
    _program(
        "spectralgrad not symmetric",
        "spectralgrad",
        "not symmetric: sg.eig, the largest eigenvalue",
        LEFT_RIGHT,
        "The general formula, left rightᵀ.",
        """
eigenvalues, eigenvectors = sg.eig(A)
loss = eigenvalues.real.max()
loss.backward()
gradient = A.grad
""",
    ),
)


def programs_of_peer(peer: str) -> list[Program]:
    return [program for program in PROGRAMS if program.peer == peer]
