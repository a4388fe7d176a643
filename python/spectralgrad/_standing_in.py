"""Replaces functions of torch.linalg: in a block of one thread, or in the dispatcher for the whole process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C import _len_torch_function_stack, _pop_torch_function_stack, _push_on_torch_function_stack
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode, _get_overloaded_args, _pop_mode, _push_mode

from . import _C
from ._current import current, enter, leave, stand_ins
from ._ops.eig import eig
from ._ops.eigh import eigh
from ._ops.eigvals import eigvals
from ._ops.eigvalsh import eigvalsh
from ._ops.svd import svd
from ._ops.svdvals import svdvals
from ._rules import Rule, _check_rule

_P = ParamSpec("_P")
_R = TypeVar("_R")

_STAND_INS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.linalg.eig: eig,
    torch.linalg.eigh: eigh,
    torch.linalg.eigvals: eigvals,
    torch.linalg.eigvalsh: eigvalsh,
    torch.linalg.svd: svd,
    torch.linalg.svdvals: svdvals,
}


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    arguments: list[Any] = []
    for x in (*args, *kwargs.values()):
        arguments.extend(x if isinstance(x, tuple | list) else (x,))
    return arguments


class _Mode(TorchFunctionMode):
    """On a thread's stack once for each open block. The context decides whether a call is ours."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        ours = _STAND_INS.get(func)
        block = None if ours is None else current.stand_in
        if ours is None or block is None:
            return func(*args, **kwargs)
        # torch calls the arguments' own handlers before it computes. A handler's super() comes here, too: it calls
        # `func` again with handlers switched off.
        handlers = _overloaded(args, kwargs)
        if handlers:
            with self:
                return _call_handlers(handlers, func, args, kwargs)
        return ours(*args, **kwargs, rule=block[0])


def _overloaded(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    relevant = _arguments(args, kwargs)
    if all(type(x) in (Tensor, Parameter, str, type(None)) for x in relevant):
        return []
    return _get_overloaded_args(relevant)


def _call_handlers(handlers: list[Any], func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    types = tuple(type(x) for x in handlers)
    for x in handlers:
        result = x.__torch_function__(func, types, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"no implementation found for 'torch.linalg.{getattr(func, '__name__', func)}' on types that implement "
        f"__torch_function__: {list(types)}"
    )


_mode = _Mode()


def _remove_mode() -> None:
    """Removes the innermost `_mode` from this thread's stack. Interleaved tasks may have left other modes above it."""
    above: list[TorchFunctionMode] = []
    while _len_torch_function_stack() > 0:
        mode = _pop_mode()
        if mode is _mode:
            break
        above.append(mode)
    for mode in reversed(above):
        _push_mode(mode)


class stand_in:
    """Gives ``torch.linalg``'s ``eig``, ``eigvals``, ``eigh``, ``eigvalsh``, ``svd`` and ``svdvals`` our derivatives.

    It does so in a block of one thread. Also a decorator. Blocks nest, and the innermost rule counts. An asyncio task
    sees its own blocks only. Calls of these functions from Python become calls of ours. Other ways to them, such as
    TorchScript, C++ and torch functions built on them (norms, ``pinv``, ``cond``, ``torch.svd``), keep torch's values
    and get our derivatives. Arguments with a ``__torch_function__`` of their own handle the call first, as in torch.
    `install` does this for all threads.

    The first block of a process, or the first `install`, changes the dispatcher's table. It must not happen while other
    threads decompose matrices.

    Args:
        rule: the rule of the calls in the block; by default the current rule when they are made.

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
        if inspect.isroutine(rule):
            raise TypeError(
                "spectralgrad.stand_in: Expected rule to be a Rule such as spectralgrad.Gated(), but got a function; "
                f"as a decorator it is written @spectralgrad.stand_in(), with parentheses: {rule!r}"
            )
        if rule is not None:
            _check_rule("stand_in", rule)
        self._rule = rule
        self._traced: list[tuple[Rule | None] | None] = []

    def __enter__(self) -> None:
        if torch.compiler.is_dynamo_compiling():
            self._traced.append(current.stand_in)
            current.stand_in = (self._rule,)
            _push_on_torch_function_stack(_mode)
        else:
            _prepare()
            enter(stand_ins, self, (self._rule,))
            _push_mode(_mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if torch.compiler.is_dynamo_compiling():
            _pop_torch_function_stack()
            current.stand_in = self._traced.pop()
        else:
            _remove_mode()
            leave(stand_ins, self)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with stand_in(self._rule):
                return function(*args, **kwargs)

        return inside


@functools.cache
def _prepare() -> None:
    """Registers our kernels in the dispatcher, once in a process. Each call decides whether they are used."""
    _C.prepare_standing_in()
    # The Python operators that compilers call cache the kernel of each dispatch key.
    aten = torch.ops.aten
    for op in (aten.linalg_eig.default, aten._linalg_eigh.default, aten._linalg_svd.default):
        op._dispatch_cache.clear()


def install(rule: Rule | None = None) -> None:
    """Gives ``torch.linalg``'s decompositions, those of `stand_in`, our derivatives, for the whole process.

    This happens in the dispatcher, so that it includes calls from C++, TorchScript and torch functions built on them
    (norms, ``pinv``, ``cond``, ``torch.svd``), and code compiled from now on. Code compiled before keeps its
    derivatives. Values without derivatives stay torch's own, to the bit. Installing again replaces the rule.

    Args:
        rule: by default the current rule when an operation is called. `Split` moves eigenvalues only if a derivative is
            asked for.
    """
    if rule is not None:
        _check_rule("install", rule)
    _prepare()
    _C.install(None if rule is None else rule._encoded())


def uninstall() -> None:
    """Gives torch its own derivatives back. Does nothing if they are not replaced."""
    _C.uninstall()


def installed() -> bool:
    """Whether `install` is active."""
    return _C.installed()
