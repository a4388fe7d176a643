"""Checks for losses without a gradient and for matrices without a decomposition."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import Literal

import torch

from . import _C
from ._checks_in_graphs import close_block, close_recorded, open_block, open_recorded
from ._current import enter, leave, levels, rules, stand_ins

Level = Literal["ignore", "warn", "raise"]


class GaugeError(RuntimeError):
    """The loss depends on a phase of an eigenvector or on the basis inside an eigenspace, which are arbitrary."""


class GaugeWarning(UserWarning):
    """Part of a gradient is undefined or lost, because eigenvalues are equal (degenerate)."""


_LIBRARIES = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, _C))


def _warn(message: str) -> None:
    # The warning points at the user's line that asked for the derivative, because filters that show a warning once
    # compare lines.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, GaugeWarning, stacklevel=level)


_C.set_gauge_reporter(GaugeError, _warn)
_C.set_context_variables(rules, levels, stand_ins)


def _level(function: str, level: str) -> _C.Checks:
    try:
        return _C.Checks.__members__[level]
    except (KeyError, TypeError):
        raise ValueError(
            f'spectralgrad.{function}: Expected level to be "ignore", "warn" or "raise", but got {level!r}'
        ) from None


def set_checks(level: Level) -> None:
    """Sets the level of checks of the whole process; see `checks` for the levels."""
    _C.set_checks(_level("set_checks", level))


class checks:
    """Sets the level of checks inside a block. Blocks nest, and belong to the context like those of `use_rule`.

    - ``"ignore"``: no checks. A matrix with a NaN or an Inf gives NaN; the other matrices of its batch are unaffected.
    - ``"warn"``, the default: such a matrix raises ``torch.linalg.LinAlgError``. A complex loss that depends on the
      phases of the eigenvectors raises `GaugeError`, as with torch.linalg. A `GaugeWarning` reports a loss that depends
      on the basis inside an eigenspace, or whose gradient is lost there.
    - ``"raise"``: the same findings raise `GaugeError` instead of a warning.

    The level in force when the work is done counts: for a gradient, put the block around ``backward()``. Autograd runs
    the backward of CUDA tensors in threads of its own, which see only `set_checks`. Inside code that torch.compile
    compiles, the level of a block is compiled in. `torch.export` keeps no level, so a block inside exported code
    raises.

    Example::

        >>> A = torch.tensor([[torch.nan, 0.0], [0.0, 1.0]])
        >>> with sg.checks("ignore"):
        ...     sg.eigvalsh(A)
        tensor([nan, nan])
    """

    def __init__(self, level: Level) -> None:
        self._level = _level("checks", level)
        self._name = level

    def __enter__(self) -> None:
        if torch.compiler.is_exporting():
            raise RuntimeError(
                "spectralgrad.checks: Expected no block inside torch.export, which keeps no level of checks; put the "
                "block around the calls of the exported program"
            )
        if torch.compiler.is_dynamo_compiling():
            open_block(self._name)
        else:
            enter(levels, self, self._level, self._level)
            open_recorded(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if torch.compiler.is_dynamo_compiling():
            close_block()
        else:
            leave(levels, self)
            close_recorded()
