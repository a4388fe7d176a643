"""Standing in for torch.linalg: in a block of one thread, or process-wide in the dispatcher."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from . import _C
from ._ops.eigh import eigh
from ._ops.eigvalsh import eigvalsh
from ._rules import Rule, _check_rule

_P = ParamSpec("_P")
_R = TypeVar("_R")

_STAND_INS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.linalg.eigh: eigh,
    torch.linalg.eigvalsh: eigvalsh,
}


class _Mode(TorchFunctionMode):
    def __init__(self, rule: Rule | None) -> None:
        super().__init__()
        self._rule = rule

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        ours = _STAND_INS.get(func)
        if ours is None:
            return func(*args, **kwargs)
        if "input" in kwargs:  # torch.linalg's other name for it
            kwargs["A"] = kwargs.pop("input")
        return ours(*args, **kwargs, rule=self._rule)


class stand_in:
    """Within the block, and in this thread, ``torch.linalg.eigh`` and ``eigvalsh`` called from Python are ours.

    Also a decorator. Blocks nest; the innermost rule counts. For calls from C++ and from other torch functions, see
    `install`.

    Args:
        rule: for the calls in the block; by default the rule in force when they are made.

    Example::

        >>> A = torch.eye(2, requires_grad=True)
        >>> with sg.stand_in():
        ...     L, V = torch.linalg.eigh(A)
        >>> (L.sum() + V.square().sum()).backward()
        >>> A.grad
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, rule: Rule | None = None) -> None:
        if rule is not None:
            _check_rule("stand_in", rule)
        self._rule = rule
        self._modes: list[_Mode] = []

    def __enter__(self) -> None:
        mode = _Mode(self._rule)
        mode.__enter__()
        self._modes.append(mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._modes.pop().__exit__(kind, error, trace)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with stand_in(self._rule):
                return function(*args, **kwargs)

        return inside


def _forget_kernels() -> None:
    # The Python operator that compilers call remembers which kernel a dispatch key led to.
    torch.ops.aten._linalg_eigh.default._dispatch_cache.clear()


def install(rule: Rule | None = None) -> None:
    """Puts our derivatives under torch.linalg's ``eigh`` and ``eigvalsh`` for the whole process.

    Done in the dispatcher, so that calls from C++, TorchScript and other torch functions take them too, and code
    compiled from now on; what has been compiled before keeps the derivatives it was compiled with. Values without
    derivatives stay torch's own, to the bit. Installing again replaces the rule.

    Args:
        rule: by default the rule in force when an operation is called. `Split` moves eigenvalues only where a
            derivative is asked for.
    """
    if rule is not None:
        _check_rule("install", rule)
    _C.install(None if rule is None else rule._encoded())
    _forget_kernels()


def uninstall() -> None:
    """Gives torch its own derivatives back. Harmless where nothing is installed."""
    _C.uninstall()


def installed() -> bool:
    """Whether `install` is in force."""
    return _C.installed()
