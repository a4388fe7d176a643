"""TorchScript takes the functions that are operators, and says which function it cannot take."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import distinct
from spectralgrad._operators import OPERATORS


def scripted_eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    return sg.eigh(A)


def scripted_sum(A: Tensor) -> Tensor:
    _, V = sg.eigh(A, "U")
    return (
        sg.eigvalsh(A).sum() + V.square().sum() + (sg.expm(A) + sg.powm(A, 2.0) + sg.spectral_projector(A, 0, 1))[0, 1]
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
def test_scripts_call_ours(degenerate: Tensor) -> None:
    A = degenerate.clone().requires_grad_()
    L, V = torch.jit.script(scripted_eigh)(A)
    (G,) = torch.autograd.grad(L.sum() + V.square().sum(), A)
    assert torch.equal(G, torch.eye(4, dtype=A.dtype))
    X = distinct(4, torch.float64, 0).requires_grad_()
    results = [f(X) for f in (torch.jit.script(scripted_sum), scripted_sum)]
    assert torch.equal(*results)
    assert torch.equal(*(torch.autograd.grad(y, X)[0] for y in results))


SCRIPTED = [name for name, operator in OPERATORS.items() if operator.script is not None]
OTHERS = sorted(
    name for name in sg.__all__ if isinstance(getattr(sg, name), types.FunctionType) and name not in SCRIPTED
)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("name", SCRIPTED)
def test_functions_are_scripted_by_themselves(name: str) -> None:
    function = getattr(sg, name)
    other = torch.eye(3, dtype=torch.float64)
    more = {
        "powm": (1.5,),
        "spectral_projector": (0, 2),
        "eigh": ("U",),
        "eigh_subset": (0, 2),
        "eigvalsh_directional": (other,),
        "generalized_eigh": (other,),
        "orthogonal_procrustes": (other,),
        "rigid_alignment": (other,),
    }.get(name, ())
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    values = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)

    def call(f: Callable[..., Any], A: Tensor) -> Any:
        if name == "canonical_gauge":
            return f(values, A)
        return f(values.unsqueeze(0), A.unsqueeze(0)) if name == "track" else f(A, *more)

    def results(f: Callable[..., Any]) -> list[Tensor]:
        y = call(f, A)
        # Singular values, because losses of U alone have no gradient at equal ones. Eigenvectors, if A has these.
        part = y if isinstance(y, Tensor) else y[1 if name.startswith(("svd", "track")) else 0]
        return [part, torch.autograd.grad(part.sum().real, A)[0]]

    for x, y in zip(results(torch.jit.script(function)), results(function), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(RuntimeError, match=f"spectralgrad.{name}: .* at least 2 dimensions"):
        call(torch.jit.script(function), A[0] if name != "track" else A[0, 0])


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_cannot_be_scripted_say_so(name: str) -> None:
    sentence = rf"spectralgrad\.{name}: Expected a call from Python, but TorchScript is to compile it\. Scripts can"
    function = getattr(sg, name)

    def caller(A: Tensor) -> Tensor:
        return function(A)

    for f in (function, caller):
        with pytest.raises(RuntimeError, match=sentence):
            torch.jit.script(f)
    assert {"funm", "trace_funm", "spectral_map", "density_matrix"} < set(OTHERS)


def squared(A: Tensor) -> Tensor:
    return sg.funm(A, torch.square)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_script_calls_them_through_python() -> None:
    squared.__annotations__.update(dict.fromkeys(("A", "return"), Tensor))  # TorchScript reads no strings
    ignored = torch.jit.ignore(squared)

    def script(A: Tensor) -> Tensor:
        return ignored(A) + sg.expm(A)

    A = distinct(3, torch.float64, 0)
    torch.testing.assert_close(torch.jit.script(script)(A), A @ A + torch.matrix_exp(A), rtol=1e-13, atol=1e-13)
