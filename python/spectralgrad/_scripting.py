"""TorchScript: functions that are one operator are that operator there, as torch's own functions are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.jit._builtins import _register_builtin
from torch.jit._state import _jit_caching_layer, _python_cu

_MATRIX = "A: Tensor", "A", "Tensor"
_PAIR = "Tuple[Tensor, Tensor]"
# Parameters, arguments and result, as TorchScript writes them.
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


def register_scripting(functions: dict[str, Callable[..., Any]]) -> None:
    """Lets scripts call `functions`, by name, and ``torch.jit.script`` take each by itself."""
    for name, (parameters, arguments, result) in _SIGNATURES.items():
        function = functions[name]
        _register_builtin(function, f"spectralgrad::{name}")
        # torch.jit.script(function) looks here first: it cannot compile the Python around the operator.
        scripted = f"spectralgrad_{name}"
        _python_cu.define(
            f"def {scripted}({parameters}) -> {result}:\n    return torch.ops.spectralgrad.{name}({arguments})\n",
            {"torch": torch}.get,  # type: ignore[arg-type]
        )
        _jit_caching_layer[function] = scripted
