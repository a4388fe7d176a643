"""The current settings of the caller's context: rule, level of checks, whether we stand in for torch.linalg.

The state is in context variables, so that threads, asyncio tasks and copied contexts each have their own. torch.compile
cannot trace a context variable. It reads an attribute of a module as it is, and guards on it, so `current` is a module
whose attributes are the innermost values.
"""

from __future__ import annotations

import types
from contextvars import ContextVar
from typing import Any

from . import _C

# The open blocks of a context, outermost first. Each has its owner, its value and the value as C++ has it.
Entry = tuple[object, Any, Any]
Entries = tuple[Entry, ...]


def enter(variable: ContextVar[Entries], owner: object, value: Any, encoded: Any = None) -> None:
    _C.use_context()
    variable.set((*variable.get(), (owner, value, encoded)))


def leave(variable: ContextVar[Entries], owner: object) -> None:
    """Closes the innermost block of `owner`. Generators may close blocks in another order than they opened them.

    Does nothing in a context where `owner` opened no block, such as that of a generator which another task finalizes.
    """
    entries = variable.get()
    for i in reversed(range(len(entries))):
        if entries[i][0] is owner:
            variable.set(entries[:i] + entries[i + 1 :])
            return


rules: ContextVar[Entries] = ContextVar("spectralgrad.rules", default=())
levels: ContextVar[Entries] = ContextVar("spectralgrad.checks", default=())
stand_ins: ContextVar[Entries] = ContextVar("spectralgrad.stand_ins", default=())


def _innermost(variable: ContextVar[Entries]) -> Any:
    entries = variable.get()
    return entries[-1][1] if entries else None


class _Current(types.ModuleType):
    """The innermost values. None if no block is open."""

    @property
    def rule(self) -> Any:
        return _innermost(rules)

    @rule.setter
    def rule(self, value: Any) -> None:
        self._assign(rules, value, None if value is None else value._encoded())

    @property
    def stand_in(self) -> Any:
        return _innermost(stand_ins)

    @stand_in.setter
    def stand_in(self, value: Any) -> None:
        self._assign(stand_ins, value)

    def _assign(self, variable: ContextVar[Entries], value: Any, encoded: Any = None) -> None:
        # Only compiled code assigns: a block inside it sets the value, and its end restores the previous one.
        if value is not _innermost(variable):
            _C.use_context()
            variable.set(() if value is None else (*variable.get()[:-1], (self, value, encoded)))


current = _Current("spectralgrad._current.current")
