"""TorchScript: a function that is one operator becomes that operator, like torch's own functions.

The other functions raise a message if a script calls them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.jit._builtins import _register_builtin
from torch.jit._state import _jit_caching_layer, _python_cu

from ._operators import OPERATORS, handle

_SCRIPTS = {name: operator.script for name, operator in OPERATORS.items() if operator.script is not None}
# Statements instead of a call of the operator. Without them a Tensor p would become a number, and lose its gradient.
_BODIES = {
    "powm": """
    if isinstance(p, Tensor):
        return torch.ops.spectralgrad.powm(A, p)
    elif isinstance(p, int):
        return torch.ops.spectralgrad.powm(A, float(p))
    else:
        return torch.ops.spectralgrad.powm(A, p)
"""
}


class _Refusal:
    """Takes the place of the name of a scripted function. Raises as soon as torch reads it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __bool__(self) -> bool:
        raise RuntimeError(
            f"spectralgrad.{self._name}: Expected a call from Python, but TorchScript is to compile it. Scripts can "
            f"call {', '.join(_SCRIPTS)}. Put @torch.jit.ignore on a function of yours that calls {self._name}"
        )


def register_scripting(namespace: dict[str, Any]) -> None:
    """Lets scripts call the functions that are one operator. Others raise a message."""
    functions: dict[str, Callable[..., Any]] = {
        name: value for name, value in namespace.items() if isinstance(value, FunctionType) and not name.startswith("_")
    }
    for name, function in functions.items():
        if name not in _SCRIPTS:
            _jit_caching_layer[function] = _Refusal(name)
            continue
        parameters = _SCRIPTS[name]
        arguments = ", ".join(re.findall(r"(\w+):", parameters))
        count = len(handle(name)._schema.returns)
        result = "Tensor" if count == 1 else f"Tuple[{', '.join(['Tensor'] * count)}]"
        _register_builtin(function, f"spectralgrad::{name}")
        # torch.jit.script(function) looks here first. It could not compile the Python code around the operator.
        scripted = f"spectralgrad_{name}"
        body = _BODIES.get(name, f"\n    return torch.ops.spectralgrad.{name}({arguments})\n")
        _python_cu.define(
            f"def {scripted}({parameters}) -> {result}:{body}",
            {"torch": torch}.get,  # type: ignore[arg-type]
        )
        _jit_caching_layer[function] = scripted
