"""Errors and warnings name the function that was called, in every transform."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from operator_cases import FUNCTIONS
from problems import LinAlgError, distinct

EYE = torch.eye(3, dtype=torch.float64)


def with_nan() -> Tensor:
    A = EYE.clone()
    A[1, 1] = torch.nan
    return A


BAD: dict[str, tuple[Tensor, type[BaseException], str]] = {
    "NaN": (
        with_nan(),
        LinAlgError,
        r"Expected ((the lower triangle of )?(A|H|source) to be finite, but the entry \(1, 1\)|A\^H B to be finite,.*) "
        r"is nan",
    ),
    "not square": (
        torch.ones(2, 3),
        RuntimeError,
        r"(A|H|V|source) must be batches of square matrices, but they are 2 by 3",
    ),
    "1-D": (torch.ones(3), RuntimeError, "input tensor (A|H|V|source) must have at least 2 dimensions, but it has 1"),
    "bfloat16": (
        EYE.bfloat16(),
        NotImplementedError,
        "not implemented for 'BFloat16': Expected (A|H|V|source) to be float32",
    ),
    "int": (EYE.int(), NotImplementedError, "not implemented for 'Int': Expected (A|H|V|source) to be float32"),
    "sparse": (EYE.to_sparse(), NotImplementedError, "Expected (A|H|V|source) to be a dense tensor, but its layout is"),
    "not positive": (-EYE, LinAlgError, "Expected A to be positive"),
    "tuple": ((EYE,), TypeError, "Expected (A|H|V|source) to be a Tensor, but got tuple"),  # type: ignore[dict-item]
}
RECTANGULAR = (
    "svd",
    "svd_truncated",
    "svdvals",
    "polar",
    "orthogonal_procrustes",
    "rigid_alignment",
    "canonical_gauge",
    "track",
)
# A NaN stays in its matrix, or in its path.
WITH_NAN = ("canonical_gauge", "track")
POSITIVE = ("logm", "sqrtm", "invsqrtm", "powm", "trace_sqrtm")
TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Any], Tensor], Any]] = {
    "plain": lambda f, A: f(A),
    "backward": lambda f, A: f(A.clone().requires_grad_()),
    "jvp": lambda f, A: torch.func.jvp(f, (A,), (A,)),
    "vmap": lambda f, A: torch.func.vmap(f)(A.unsqueeze(0)),
    "meta": lambda f, A: f(A.to("meta")),
}


def transforms_for(bad: str) -> list[str]:
    """Returns the transforms in which the bad input reaches this package."""
    without = {
        "NaN": {"meta"},
        "not positive": {"meta"},
        "1-D": {"vmap"},
        "int": {"backward", "jvp"},
        "sparse": {"jvp", "meta"},
        "tuple": {"backward", "jvp", "vmap", "meta"},
    }
    return [transform for transform in TRANSFORMS if transform not in without.get(bad, set())]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors(name: str, bad: str, transform: str) -> None:
    if transform not in transforms_for(bad) or (bad == "not positive" and name not in POSITIVE):
        return
    if bad == "not square" and name in RECTANGULAR:
        return
    if bad == "NaN" and name in WITH_NAN:
        return
    A, kind, message = BAD[bad]
    with pytest.raises(kind, match=rf'^"?spectralgrad\.{name}"?:? .*{message}'):
        TRANSFORMS[transform](FUNCTIONS[name], A)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_of_compiled_code(name: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(FUNCTIONS[name], backend="aot_eager")
    for bad in ("NaN", "not square", "bfloat16"):
        if (bad == "not square" and name in RECTANGULAR) or (bad == "NaN" and name in WITH_NAN):
            continue
        A, kind, _ = BAD[bad]
        # Dynamo raises its own error for wrong shapes and dtypes.
        with pytest.raises(kind if bad == "NaN" else Exception, match=rf"spectralgrad\.{name}"):
            compiled(A)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_arguments(name: str) -> None:
    f: Any = getattr(sg, name)
    leaf = EYE.clone().requires_grad_()
    out = (torch.empty(3).double(), torch.empty(3, 3).double()) if name == "eigh" else torch.empty(3).double()
    small = (torch.empty(2).double(), torch.empty(3, 3).double()) if name == "eigh" else torch.empty(2).double()
    for A in (EYE, leaf):
        for UPLO in ("X", ""):
            with pytest.raises(RuntimeError, match=rf"^spectralgrad\.{name}: Expected UPLO argument to be 'L' or 'U'"):
                f(A, UPLO)
        with pytest.raises(TypeError, match=rf"^spectralgrad\.{name}: Expected UPLO to be a str, but got int"):
            f(A, 1)
        with pytest.raises(TypeError, match=rf"^spectralgrad\.{name}: Expected rule to be a Rule"):
            f(A, rule="gated")
        with pytest.raises(TypeError, match=rf"^spectralgrad\.{name}: Expected out to be a"):
            f(A, out=3)
    with pytest.raises(RuntimeError, match=rf"^spectralgrad\.{name}\(\): functions with out="):
        f(leaf, out=out)
    with pytest.warns(UserWarning, match=rf"^spectralgrad\.{name}: An output with one or more elements was resized"):
        f(EYE, out=small)


# --- derivatives -----------------------------------------------------------------------------------------------------


def lowest(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda A: f(A)[..., 0].sum()


def squares(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda A: f(A).pow(3).sum()


def stood_in(A: Tensor) -> Tensor:
    with sg.stand_in():
        return torch.linalg.eigvalsh(A)


def backward(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    return torch.autograd.grad(loss(X), X)[0]


def double_backward(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
    return torch.autograd.grad(G[0, 0], X)[0]


def stood_in_for_eigvals(A: Tensor) -> Tensor:
    with sg.stand_in():
        return torch.linalg.eigvals(A).real


CALLED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "eigh": (lambda A: sg.eigh(A)[0], "eigh"),
    "eigh_subset": (lambda A: sg.eigh_subset(A, 0, None)[0], "eigh_subset"),
    "eigvalsh": (sg.eigvalsh, "eigvalsh"),
    "torch.linalg.eigvalsh": (stood_in, "eigvalsh"),
    "operator": (torch.ops.spectralgrad.eigvalsh, "eigvalsh"),
    "eig": (lambda A: sg.eig(A)[0].real, "eig"),
    "eigvals": (lambda A: sg.eigvals(A).real, "eigvals"),
    "torch.linalg.eigvals": (stood_in_for_eigvals, "eigvals"),
    "svd": (lambda A: sg.svd(A)[1], "svd"),
    "svd_truncated": (lambda A: sg.svd_truncated(A, A.shape[-1], keep_multiplets=False)[1], "svd_truncated"),
    "svdvals": (sg.svdvals, "svdvals"),
}
VALUES = {
    "eigh": "eigenvalue",
    "eigh_subset": "eigenvalue",
    "eigvalsh": "eigenvalue",
    "eig": "eigenvalue",
    "eigvals": "eigenvalue",
    "svd": "singular value",
    "svd_truncated": "singular value",
    "svdvals": "singular value",
}
FIRST: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "backward": backward,
    "grad": lambda loss, A: torch.func.grad(loss)(A),
    "vmap of grad": lambda loss, A: torch.func.vmap(torch.func.grad(loss))(A.expand(2, *A.shape)),
    "grad of vmap": lambda loss, A: torch.func.grad(lambda X: torch.func.vmap(loss)(X).sum())(A.expand(2, *A.shape)),
}
SECOND: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "double backward": double_backward,
    "hessian": lambda loss, A: torch.func.hessian(loss)(A),
    "jacrev of jacrev": lambda loss, A: torch.func.jacrev(torch.func.jacrev(loss))(A),
    "jacrev of jacfwd": lambda loss, A: torch.func.jacrev(torch.func.jacfwd(loss))(A),
    "jvp of jvp": lambda loss, A: torch.func.jvp(lambda X: torch.func.jvp(loss, (X,), (A,))[1], (A,), (A,)),
}
called = pytest.mark.parametrize(("f", "name"), CALLED.values(), ids=CALLED)


def findings(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", sg.GaugeWarning)
        call()
    return [str(warning.message) for warning in caught if issubclass(warning.category, sg.GaugeWarning)]


@called
@pytest.mark.parametrize("transform", FIRST)
def test_warnings_of_first_derivatives(transform: str, f: Callable[[Tensor], Tensor], name: str) -> None:
    messages = findings(lambda: FIRST[transform](lowest(f), EYE))
    assert messages
    for message in messages:
        assert message.startswith(f"spectralgrad.{name}: The loss treats equal {VALUES[name]}s differently")
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match=rf"^spectralgrad\.{name}: The loss treats"):
        backward(lowest(f), EYE)
    assert not findings(lambda: FIRST[transform](lowest(f), distinct(3, torch.float64, 0)))


@called
@pytest.mark.parametrize("transform", SECOND)
def test_warnings_of_second_derivatives(transform: str, f: Callable[[Tensor], Tensor], name: str) -> None:
    messages = findings(lambda: SECOND[transform](squares(f), EYE))
    assert messages
    for message in messages:
        assert message.startswith(f"spectralgrad.{name}: A second derivative is taken through a repeated ")
        assert f"{VALUES[name]} (of matrix 0 of the batch)" in message
    assert not findings(lambda: SECOND[transform](squares(f), distinct(3, torch.float64, 0)))


@called
def test_warnings_of_compiled_code(f: Callable[[Tensor], Tensor], name: str) -> None:
    torch._dynamo.reset()
    loss = torch.compile(lowest(f), backend="aot_eager", fullgraph=True)
    (message,) = findings(lambda: backward(loss, EYE))
    assert message.startswith(f"spectralgrad.{name}: The loss treats equal {VALUES[name]}s differently")
    torch._dynamo.reset()


def test_each_message_names_its_own_function() -> None:
    """Calls in sequence, and a call inside the derivative of another one."""
    (first,) = findings(lambda: backward(lowest(sg.eigvalsh), EYE))
    (second,) = findings(lambda: backward(lowest(CALLED["eigh"][0]), EYE))
    assert first.startswith("spectralgrad.eigvalsh: ")
    assert second.startswith("spectralgrad.eigh: ")
    both = findings(lambda: backward(lambda A: lowest(sg.eigvalsh)(A) + lowest(CALLED["eigh"][0])(A), EYE))
    assert sorted(message.split(":")[0] for message in both) == ["spectralgrad.eigh", "spectralgrad.eigvalsh"]
    with sg.checks("raise"), pytest.raises(sg.GaugeError):
        backward(lowest(sg.eigvalsh), EYE)
    (third,) = findings(lambda: backward(lowest(CALLED["eigh"][0]), EYE))
    assert third.startswith("spectralgrad.eigh: ")
