"""Blocks of `checks` inside compiled code.

A compiled graph has no blocks. If a compiler records operators one by one, each operator of a block becomes its
overload `under_checks`, which takes the level as an argument, so no reordering can separate the two. Dynamo's own graph
calls the operators `open_block` and `close_block` instead: compilers run them while they record, and the backend
"eager" runs them with the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch._C._dynamo import eval_frame
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from . import _C
from ._current import enter, leave, levels
from ._operators import OPERATORS, handle

# Open blocks of each recording, outermost first. They end with the recording, even if it fails inside a block.
_recorded: WeakKeyDictionary[ProxyTorchDispatchMode, list[str]] = WeakKeyDictionary()

_modes = torch._C._TorchDispatchModeKey
_INTERPRETER = sys.modules["torch.fx.interpreter"].__file__
_TORCH = str(Path(torch.__file__).parent)


def _open_in(mode: ProxyTorchDispatchMode, level: str) -> None:
    _recorded.setdefault(mode, []).append(level)


def _close_in(mode: ProxyTorchDispatchMode) -> None:
    if blocks := _recorded.get(mode):
        blocks.pop()


def open_recorded(level: str) -> None:
    """Gives `level` to the operators that a compiler records from here on. Does nothing if no compiler records."""
    mode: ProxyTorchDispatchMode | None = torch._C._get_dispatch_mode(_modes.PROXY)
    if mode is not None:
        _open_in(mode, level)


def close_recorded() -> None:
    mode: ProxyTorchDispatchMode | None = torch._C._get_dispatch_mode(_modes.PROXY)
    if mode is not None:
        _close_in(mode)


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
    # The call of the operator, and modes that see it.
    while (
        frame.f_back is not None
        and frame.f_code.co_filename.startswith(_TORCH)
        and frame.f_code.co_filename != _INTERPRETER
    ):
        frame = frame.f_back
    while frame.f_back is not None and frame.f_code.co_filename == _INTERPRETER == frame.f_back.f_code.co_filename:
        frame = frame.f_back
    return frame


def _open_block(level: str) -> None:
    encoded = _C.Checks.__members__[level]
    frame = _graph_frame()
    enter(levels, frame, encoded, _GraphLevel(encoded, frame))


def _close_block() -> None:
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


# At import, because compiled code may be loaded from a cache, and graphs from a file.
for _name, _operator in OPERATORS.items():
    if _operator.reports:
        _define(_name)


def _define_block(schema: str, run: Callable[..., None], record: Callable[..., None]) -> Any:
    """An operator that runs `run`, or `record` if a compiler records it."""
    name = schema.partition("(")[0]
    _blocks.define(schema)
    _blocks.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"spectralgrad_checks::{name}", lambda *args: None, lib=_blocks)
    torch.library.register_torch_dispatch(
        f"spectralgrad_checks::{name}",
        ProxyTorchDispatchMode,
        lambda mode, function, types, args, kwargs=None: record(mode, *args),
        lib=_blocks,
    )
    operator = getattr(torch.ops.spectralgrad_checks, name).default
    torch.fx.node.has_side_effect(operator)
    return operator


# A namespace of their own: they take no tensors.
_blocks = torch.library.Library("spectralgrad_checks", "DEF")
open_block = _define_block("open_block(str level) -> ()", _open_block, _open_in)
close_block = _define_block("close_block() -> ()", _close_block, _close_in)


def register_with_dynamo(only_inlined: Sequence[Any], never_compiled: Sequence[Any]) -> None:
    """Tells Dynamo which functions are no beginning of a graph.

    It compiles `only_inlined` as a part of what calls them, never by themselves: a block of its own would end with its
    graph. It does not compile `never_compiled`, but the functions that they call.
    """
    action, strategy = eval_frame._FrameAction, eval_frame._FrameExecStrategy
    for function in only_inlined:
        eval_frame.set_code_exec_strategy(function.__code__, strategy(action.SKIP, action.SKIP))
    for function in never_compiled:
        eval_frame.set_code_exec_strategy(function.__code__, strategy(action.SKIP, action.DEFAULT))
