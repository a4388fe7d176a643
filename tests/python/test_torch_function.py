"""Every function honours `__torch_function__` of its arguments, of subclasses and of modes, as torch's functions do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from operator_cases import FUNCTIONS
from problems import distinct, gap_factor, random_hermitian


class Operator:
    """Not a tensor, but implements torch's functions, as linear_operator does."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func.__name__, args, kwargs


class Refusing:
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented


class Logged(Tensor):
    """Has its own __torch_function__, which calls torch's."""

    calls: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        cls.calls.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Plain(Tensor):
    pass


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_operators_answer_themselves(name: str) -> None:
    x = Operator()
    theirs = getattr(torch.linalg, name)
    with sg.stand_in():
        assert theirs(x) == theirs(x)
        assert theirs(x)[0] == f"linalg_{name}"
        assert theirs(x)[1][0] is x
        with pytest.raises(TypeError, match="no implementation found"):
            theirs(Refusing())
    assert getattr(sg, name)(x, "U")[:2] == (name, (x, "U"))
    with pytest.raises(TypeError, match="no implementation found"):
        getattr(sg, name)(Refusing())


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_handlers_of_subclasses_run_and_their_calls_reach_this_package(name: str) -> None:
    def first(result: Any) -> Tensor:
        return result if isinstance(result, Tensor) else result[0]

    A = distinct(3, torch.float64, 0)
    for theirs, context in ((getattr(sg, name), sg.use_rule), (getattr(torch.linalg, name), sg.stand_in)):
        for kind in (Logged, Plain):
            x = A.as_subclass(kind)
            Logged.calls.clear()
            with context(sg.Split(0.5)):
                values = first(theirs(x))
            assert type(values) is kind
            assert torch.equal(values.as_subclass(Tensor), sg.eigh(A, rule=sg.Split(0.5))[0]) or name == "eigvalsh"
            torch.testing.assert_close(
                values.as_subclass(Tensor), sg.eigvalsh(A, rule=sg.Split(0.5)), rtol=0, atol=1e-14
            )
            assert (theirs in Logged.calls) == (kind is Logged)


def test_a_parameter_is_no_subclass_with_a_handler() -> None:
    A = torch.nn.Parameter(torch.eye(3, dtype=torch.float64))
    with sg.stand_in():
        L, V = torch.linalg.eigh(A)
        (L.sum() + V.square().sum()).backward()
    assert A.grad is not None
    assert torch.equal(A.grad, torch.eye(3, dtype=torch.float64))


EVERY = FUNCTIONS | {
    "density_matrix with all": lambda A: sg.density_matrix(A, electrons=2, kT=0.1, full_output=True).mu
}
every = pytest.mark.parametrize("name", EVERY)


class Counting(torch.overrides.TorchFunctionMode):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


@every
def test_each_function_asks_handlers(name: str) -> None:
    f, public = EVERY[name], getattr(sg, name.split()[0])

    class Answering:
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append((func, types, args))
            return answer

    seen: list[Any] = []
    x: Any = Answering()
    answer: Any = sg.DensityMatrixResult(*[x] * 6) if "all" in name else (x, x)
    result = f(x)
    of_eigenvalues = (sg.eig, sg.eigh, sg.eigh_subset, sg.generalized_eigh, sg.track)
    several = (*of_eigenvalues, sg.svd, sg.svd_truncated, sg.polar, sg.orthogonal_procrustes, sg.rigid_alignment)
    assert result is (x if public in several or "all" in name else answer)
    ((func, types, args),) = seen
    assert func is public
    assert types == (Answering,)
    assert any(argument is x for argument in args)
    with pytest.raises(TypeError, match="no implementation found"):
        f(Refusing())


@every
def test_each_function_of_a_subclass_returns_it(name: str) -> None:
    f, public = EVERY[name], getattr(sg, name.split()[0])
    Z = random_hermitian(4, 4, dtype=torch.float64, seed=0)
    A = Z @ Z + torch.eye(4)
    # Values alone may differ in their last bits.
    expected = f(A.clone().requires_grad_()).detach()
    for kind in (Logged, Plain):
        Logged.calls.clear()
        X = A.clone().as_subclass(kind).requires_grad_()
        y = f(X)
        assert type(y) is kind
        assert torch.equal(y.as_subclass(Tensor), expected)
        assert (public in Logged.calls) == (kind is Logged)
        (G,) = torch.autograd.grad(y.sum().real, X)
        Y = A.clone().requires_grad_()
        assert torch.equal(G.as_subclass(Tensor), torch.autograd.grad(f(Y).sum().real, Y)[0])
    parameter = torch.nn.Parameter(A)
    assert type(f(parameter)) is Tensor


@every
def test_each_function_under_a_mode(name: str) -> None:
    """A mode sees the function itself, or the functions that it calls if it is composed of them."""
    f, public = EVERY[name], getattr(sg, name.split()[0])
    Z = random_hermitian(4, 4, dtype=torch.float64, seed=0)
    A = Z @ Z + torch.eye(4)
    with Counting() as mode:
        assert torch.equal(f(A), f(A))
    assert (public in mode.seen) == (public not in (sg.funm, sg.trace_funm, sg.spectral_map))
    assert mode.seen


def test_the_other_argument_of_a_function_is_asked() -> None:
    H = distinct(3, torch.float64, 0)
    S: Any = Operator()
    func, args, kwargs = sg.density_matrix(H, electrons=2, overlap=S)
    assert (func, kwargs["overlap"]) == ("density_matrix", S)
    assert args[0] is H


@pytest.mark.parametrize("f", [sg.funm, sg.trace_funm], ids=["funm", "trace_funm"])
def test_stand_in_reaches_calls_inside_a_function(f: Callable[..., Tensor]) -> None:
    """stand_in reaches torch.linalg inside the functions that are passed to funm and spectral_map."""
    seen: list[float] = []

    def g(x: Tensor) -> Tensor:
        seen.append(gap_factor(eigh=torch.linalg.eigh))
        return x.exp()

    A = distinct(3, torch.float64, 0)
    with sg.stand_in(sg.Lorentzian(1.0)):
        f(A, g)
        sg.spectral_map(lambda L, V: g(L), A)
    assert set(seen) == {0.5}
