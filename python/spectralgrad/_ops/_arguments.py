"""What the Python faces of operations check before the dispatcher, whose words are about schemas."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def check_tensor(function: str, x: Any, name: str = "A") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"spectralgrad.{function}: Expected {name} to be a Tensor, but got {type(x).__name__}")


def check_types(function: str, A: Any, UPLO: Any) -> None:
    check_tensor(function, A)
    if not isinstance(UPLO, str):
        raise TypeError(f"spectralgrad.{function}: Expected UPLO to be a str, but got {type(UPLO).__name__}")


HALF = (torch.bfloat16, torch.float16)


def autocast(A: Tensor) -> Tensor:
    """`A`, in float32 where it has half precision and autocast is on. For functions of more than one operator."""
    if A.dtype in HALF and torch.is_autocast_enabled(A.device.type):
        return A.float()
    return A


def check_out_tensor(function: str, out: Any) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"spectralgrad.{function}: Expected out to be a Tensor, but got {type(out).__name__}")


def check_out(function: str, out: Any, *names: str) -> None:
    """Raises unless `out` is a tuple, or a list, of as many tensors as there are names."""
    if not (isinstance(out, tuple | list) and len(out) == len(names) and all(isinstance(x, Tensor) for x in out)):
        got = f"a {type(out).__name__} of {len(out)}" if isinstance(out, tuple | list) else type(out).__name__
        if isinstance(out, tuple | list) and len(out) == len(names):
            got = f"a {type(out).__name__} of {', '.join(type(x).__name__ for x in out)}"
        raise TypeError(
            f"spectralgrad.{function}: Expected out to be a tuple of {len(names)} Tensors ({', '.join(names)}), "
            f"but got {got}"
        )


def warn_of_resizing(function: str, out: Tensor, shape: tuple[int, ...]) -> None:
    # C++ resizes as torch does, but what it warns of from inside an operator does not reach Python's filters.
    if out.numel() != 0 and tuple(out.shape) != shape:
        warnings.warn(
            f"spectralgrad.{function}: An output with one or more elements was resized since it had shape "
            f"{list(out.shape)}, which does not match the required output shape {list(shape)}",
            UserWarning,
            stacklevel=3,
        )


def may_be_differentiated(A: Tensor) -> bool:
    """Whether somebody may ask for a derivative in `A`: it requires grad, carries a tangent, or a transform runs."""
    return (
        torch.compiler.is_compiling()
        or (torch.is_grad_enabled() and A.requires_grad)
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad.unpack_dual(A).tangent is not None
    )
