"""Checks of arguments before the call of an operator, because the dispatcher's own messages are about schemas."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.overrides import handle_torch_function, has_torch_function

from .. import distributed

_P = ParamSpec("_P")
_R = TypeVar("_R")


def overridable(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Lets arguments with a ``__torch_function__`` of their own, and modes, handle the call, as in torch."""

    @functools.wraps(function)
    def public(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        arguments = (*args, *kwargs.values())
        if has_torch_function(arguments):
            return handle_torch_function(public, arguments, *args, **kwargs)
        return function(*args, **kwargs)

    return public


def overridable_but_by_modes(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Like `overridable`, without modes: these would be switched off in the user's function that `function` calls."""

    @functools.wraps(function)
    def public(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        arguments = (*args, *kwargs.values())
        if has_torch_function(arguments) and any(map(_has_handler, arguments)):
            return handle_torch_function(public, arguments, *args, **kwargs)
        return function(*args, **kwargs)

    return public


def _has_handler(x: Any) -> bool:
    return type(x) not in (Tensor, Parameter) and hasattr(type(x), "__torch_function__")


def from_iterable(cls: type[_R]) -> type[_R]:
    """Lets a NamedTuple be constructed from one iterable, as torch does for results of tensor subclasses."""
    make: Callable[..., _R] = cls.__new__

    def new(cls: type[_R], *values: Any, **named: Any) -> _R:
        if len(values) == 1 and not named and not isinstance(values[0], Tensor):
            return make(cls, *values[0])
        return make(cls, *values, **named)

    cls.__new__ = new  # type: ignore[method-assign, assignment]
    return cls


def one_name(function: str, A: Tensor | None, input: Tensor | None) -> Tensor:  # noqa: A002
    """Returns the matrix, which torch.linalg documents as A and also takes as ``input=``."""
    if input is None:
        check_tensor(function, A)
        return cast("Tensor", A)
    if A is not None:
        raise TypeError(f"spectralgrad.{function}: Expected A or input, two names of one argument, but got both")
    return input


def check_tensor(function: str, x: Any, name: str = "A") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"spectralgrad.{function}: Expected {name} to be a Tensor, but got {type(x).__name__}")
    # The import of DTensor is not noticed, but the first one that arrives is.
    if type(x) not in (Tensor, Parameter) and not torch.compiler.is_compiling():
        distributed._register_if_imported()


def check_dense(function: str, x: Any, name: str = "A") -> None:
    """For functions that compute with `x` before one of their operators checks it."""
    check_tensor(function, x, name)
    if x.layout != torch.strided:
        raise NotImplementedError(
            f"spectralgrad.{function}: Expected {name} to be a dense tensor, but its layout is {x.layout}; "
            "call to_dense() first"
        )


def check_types(function: str, A: Any, UPLO: Any) -> None:
    check_tensor(function, A)
    if not isinstance(UPLO, str):
        raise TypeError(f"spectralgrad.{function}: Expected UPLO to be a str, but got {type(UPLO).__name__}")


def check_svd_types(function: str, A: Any, driver: Any, **flags: Any) -> None:
    check_tensor(function, A)
    for name, x, kind in (*((name, x, bool) for name, x in flags.items()), ("driver", driver, str)):
        if x is not None and not isinstance(x, kind):
            raise TypeError(
                f"spectralgrad.{function}: Expected {name} to be a {kind.__name__}, but got {type(x).__name__}"
            )


def integer(function: str, name: str, x: Any) -> int | None:
    """Returns an optional argument that is an integer >= 0, or raises."""
    if x is None or isinstance(x, torch.SymInt):
        return cast("int | None", x)
    if not isinstance(x, Integral) or isinstance(x, bool):
        raise TypeError(f"spectralgrad.{function}: Expected {name} to be an int or None, but got {type(x).__name__}")
    if x < 0:
        raise ValueError(f"spectralgrad.{function}: Expected {name} to be >= 0, but got {x}")
    return int(x)


def index(function: str, name: str, x: Any, *, optional: bool = False) -> Any:
    """Returns an argument that is an integer, or None if it is `optional`; raises for anything else."""
    if (x is None and optional) or (isinstance(x, int | torch.SymInt) and not isinstance(x, bool)):
        return x
    # NumPy's integers, and other exact integers. A Tensor is refused, because its value would have to be read.
    if isinstance(x, Integral) and not isinstance(x, bool):
        return int(x)
    expected = "an int or None" if optional else "an int"
    raise TypeError(f"spectralgrad.{function}: Expected {name} to be {expected}, but got {type(x).__name__}")


def tolerance(function: str, name: str, x: Any) -> float | None:
    """Returns an optional argument that is a finite number >= 0, or raises."""
    if x is None:
        return None
    if not isinstance(x, Real):
        raise TypeError(
            f"spectralgrad.{function}: Expected {name} to be a real number or None, but got {type(x).__name__}"
        )
    number = float(x)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"spectralgrad.{function}: Expected {name} to be a number >= 0, but got {x}")
    return number


HALF = (torch.bfloat16, torch.float16)


def autocast(A: Tensor) -> Tensor:
    """Returns `A`, in float32 if it has half precision and autocast is on. For functions of several operators."""
    if A.dtype not in HALF or not torch.amp.is_autocast_available(A.device.type):
        return A
    return A.float() if torch.is_autocast_enabled(A.device.type) else A


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
    # C++ resizes as torch does, but its warnings from inside an operator do not reach Python's filters.
    if out.numel() != 0 and tuple(out.shape) != shape:
        warnings.warn(
            f"spectralgrad.{function}: An output with one or more elements was resized since it had shape "
            f"{list(out.shape)}, which does not match the required output shape {list(shape)}",
            UserWarning,
            stacklevel=3,
        )


def may_be_differentiated(A: Tensor) -> bool:
    """Whether a derivative in `A` is possible: it requires grad, carries a tangent, or a transform runs."""
    return (
        torch.compiler.is_compiling()
        or (torch.is_grad_enabled() and A.requires_grad)
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad.unpack_dual(A).tangent is not None
    )
