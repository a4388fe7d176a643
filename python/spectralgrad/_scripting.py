"""TorchScript: a function that is one operator becomes that operator, like torch's own functions.

The other functions raise a message if a script calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.jit._builtins import _register_builtin
from torch.jit._state import _jit_caching_layer, _python_cu

_MATRIX = "A: Tensor", "A", "Tensor"
_PAIR = "Tuple[Tensor, Tensor]"
# Parameters, arguments and result in the syntax of TorchScript.
_SIGNATURES: dict[str, tuple[str, str, str]] = {
    "eigh": ('A: Tensor, UPLO: str = "L"', "A, UPLO", _PAIR),
    "eigvalsh": ('A: Tensor, UPLO: str = "L"', "A, UPLO", "Tensor"),
    "expm": _MATRIX,
    "logm": _MATRIX,
    "sqrtm": _MATRIX,
    "invsqrtm": _MATRIX,
    "powm": ("A: Tensor, p: float", "A, p", "Tensor"),
    "trace_sqrtm": _MATRIX,
    "pinvm": ("A: Tensor, rtol: Optional[float] = None", "A, rtol", "Tensor"),
    "pseudo_logdet": ("A: Tensor, rtol: Optional[float] = None", "A, rtol", "Tensor"),
    "spectral_projector": ("A: Tensor, start: int, stop: int", "A, start, stop", "Tensor"),
}


class _Refusal:
    """Takes the place of the name of a scripted function. Raises as soon as torch reads it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __bool__(self) -> bool:
        raise RuntimeError(
            f"spectralgrad.{self._name}: Expected a call from Python, but TorchScript is to compile it. Scripts can "
            f"call {', '.join(_SIGNATURES)}. Put @torch.jit.ignore on a function of yours that calls {self._name}"
        )


def register_scripting(namespace: dict[str, Any]) -> None:
    """Lets scripts call the functions that are one operator. Others raise a message."""
    functions: dict[str, Callable[..., Any]] = {
        name: value for name, value in namespace.items() if isinstance(value, FunctionType) and not name.startswith("_")
    }
    for name, function in functions.items():
        if name not in _SIGNATURES:
            _jit_caching_layer[function] = _Refusal(name)
            continue
        parameters, arguments, result = _SIGNATURES[name]
        _register_builtin(function, f"spectralgrad::{name}")
        # torch.jit.script(function) looks here first. It could not compile the Python code around the operator.
        scripted = f"spectralgrad_{name}"
        _python_cu.define(
            f"def {scripted}({parameters}) -> {result}:\n    return torch.ops.spectralgrad.{name}({arguments})\n",
            {"torch": torch}.get,  # type: ignore[arg-type]
        )
        _jit_caching_layer[function] = scripted
