"""Blocks of `checks` inside compiled code.

A compiled graph has no blocks. If a compiler records operators one by one, each operator of a block becomes its
overload `under_checks`, which takes the level as an argument, so no reordering can separate the two. Dynamo's own graph
calls `open_block` and `close_block` instead: compilers run them while they record, and the backend "eager" runs them
with the operators.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from . import _C
from ._after_import import after_import
from ._current import enter, leave, levels
from ._operators import OPERATORS, handle

# Open blocks of each recording, outermost first. They end with the recording, even if it fails inside a block.
_recorded: WeakKeyDictionary[ProxyTorchDispatchMode, list[str]] = WeakKeyDictionary()

_modes = torch._C._TorchDispatchModeKey
_INTERPRETER = sys.modules["torch.fx.interpreter"].__file__


def _recording() -> ProxyTorchDispatchMode | None:
    mode: ProxyTorchDispatchMode | None = torch._C._get_dispatch_mode(_modes.PROXY)
    return mode


def open_recorded(level: str) -> None:
    """Gives `level` to the operators that a compiler records from here on. Does nothing if no compiler records."""
    mode = _recording()
    if mode is not None:
        _define_all()
        _recorded.setdefault(mode, []).append(level)


def close_recorded() -> None:
    mode = _recording()
    if mode is not None and (blocks := _recorded.get(mode)):
        blocks.pop()


class _GraphLevel:
    """The level of a block in a graph that runs node by node.

    A graph that raises does not close its blocks. So the level counts only while the graph's frame runs.
    """

    def __init__(self, level: _C.Checks, frame: FrameType) -> None:
        self._level = level
        self._frame = frame

    def _is_open(self) -> bool:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        return frame is not None

    def __call__(self) -> _C.Checks | None:
        """The current level of this context. C++ calls it if the innermost block is one of these."""
        while entries := levels.get():
            innermost = entries[-1][2]
            if not isinstance(innermost, _GraphLevel):
                level: _C.Checks = innermost
                return level
            if innermost._is_open():
                return innermost._level
            levels.set(entries[:-1])
        return None


def _graph_frame() -> FrameType:
    """The frame that runs the graph: generated code, or an interpreter of torch.fx."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename == _INTERPRETER == frame.f_back.f_code.co_filename:
        frame = frame.f_back
    return frame


def open_block(level: str) -> None:
    if _recording() is not None:
        open_recorded(level)
    elif torch._C._get_dispatch_mode(_modes.FAKE) is None:  # else a compiler asks for shapes
        encoded = _C.Checks.__members__[level]
        frame = _graph_frame()
        enter(levels, frame, encoded, _GraphLevel(encoded, frame))


def close_block() -> None:
    if _recording() is not None:
        close_recorded()
    elif torch._C._get_dispatch_mode(_modes.FAKE) is None:
        leave(levels, _graph_frame())


def _record(mode: ProxyTorchDispatchMode, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
    kwargs = dict(kwargs or {})
    blocks = _recorded.get(mode)
    if blocks and function._overloadname == "default":
        function = function.overloadpacket.under_checks
        kwargs["checks"] = blocks[-1]
    return mode.__torch_dispatch__(function, types, args, kwargs)


def _define(name: str) -> None:
    operator = handle(name)
    arguments, results = str(operator._schema).removeprefix(f"spectralgrad::{name}(").rsplit(") -> ", 1)
    _library.define(f"{name}.under_checks({arguments}, *, str checks) -> {results}")

    def under_checks(*args: Any, checks: str, **kwargs: Any) -> Any:
        from ._checks import checks as block

        with block(checks):  # type: ignore[arg-type]
            return operator(*args, **kwargs)

    _library.impl(f"{name}.under_checks", under_checks, "CompositeExplicitAutograd")
    _library.impl(f"{name}.under_checks", under_checks, "Autograd")
    torch.library.register_fake(
        f"spectralgrad::{name}.under_checks", lambda *args, checks, **kwargs: operator(*args, **kwargs), lib=_library
    )
    torch.library.register_torch_dispatch(f"spectralgrad::{name}", ProxyTorchDispatchMode, _record, lib=_library)


_library = torch.library.Library("spectralgrad", "FRAGMENT")


@functools.cache
def _define_all() -> None:
    for name, operator in OPERATORS.items():
        if operator.reports:
            _define(name)


def register_when_needed(only_inlined: Sequence[Any], never_compiled: Sequence[Any]) -> None:
    """Tells Dynamo, when it is imported, about the functions here.

    It compiles `only_inlined` as a part of what calls them, never by themselves: a block of its own would end with its
    graph. It does not compile `never_compiled`, but the functions that they call.
    """

    def register() -> None:
        from torch._C._dynamo import eval_frame

        _define_all()
        for function in (open_block, close_block):
            torch.compiler.allow_in_graph(function)
            torch.fx.node.has_side_effect(function)
        action, strategy = eval_frame._FrameAction, eval_frame._FrameExecStrategy
        for function in only_inlined:
            eval_frame.set_code_exec_strategy(function.__code__, strategy(action.SKIP, action.SKIP))
        for function in never_compiled:
            eval_frame.set_code_exec_strategy(function.__code__, strategy(action.SKIP, action.DEFAULT))

    after_import("torch._dynamo", register)
