"""The command ``python -m spectralgrad compare``. It measures gradients of matrix decompositions in each framework.

Each framework runs in its own process on the same matrices (``launch``, ``worker``, ``peers``). Its gradients are
compared with references of 60 digits (``_high_precision``). The comparison has nine parts: ``programs``, ``sweep``,
``graphs``, ``dimension``, ``functions``, ``singular_values``, ``alignment``, ``jordan`` and ``generalized``.
``tables``, ``plots`` and ``report`` show the results.
"""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]
