"""``python -m spectralgrad compare``: why gradients of eigenvalue decompositions differ between frameworks, in numbers.

Each framework runs in its own process on the same matrices (``launch``, ``worker``, ``peers``), and its gradients are
measured against 60-digit references (``spectralgrad._high_precision``). ``programs``, ``sweep``, ``graphs`` and
``dimension`` are the four parts; ``tables``, ``plots`` and ``report`` show them.
"""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]
