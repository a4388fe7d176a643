"""Behaviour beyond values that users of torch.linalg expect: autocast, arguments, messages, changes in place."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from operator_cases import FUNCTIONS
from problems import distinct, random_hermitian

# --- autocast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("f", [*FUNCTIONS.values(), lambda A: sg.eigh(A)[1].abs()], ids=[*FUNCTIONS, "eigenvectors"])
def test_autocast_computes_in_float32(f: Callable[[Tensor], Tensor], half: torch.dtype) -> None:
    Z = random_hermitian(3, 3, dtype=torch.float64, seed=0)
    A = (Z @ Z + torch.eye(3)).to(half)
    with pytest.raises(NotImplementedError, match="float32, float64, complex64 or complex128"):
        f(A)

    def value_and_gradient(X: Tensor, on: bool) -> tuple[Tensor, Tensor]:
        X = X.clone().requires_grad_()
        with torch.autocast("cpu", half, enabled=on):
            y = f(X)
        return y.detach(), torch.autograd.grad(y.abs().square().sum(), X)[0]

    y, G = value_and_gradient(A, True)
    expected, expected_G = value_and_gradient(A.double(), False)
    assert (y.real.dtype, G.dtype) == (torch.float32, half)
    assert float((y - expected).abs().max()) <= 2e-5 * float(expected.abs().max())
    assert float((G - expected_G).abs().max()) <= 0.03 * float(expected_G.abs().max()) + 1e-4
    for dtype in (torch.float32, torch.float64):
        with torch.autocast("cpu", half):
            assert f(A.to(dtype)).real.dtype == dtype


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_gives_torchs_dtypes(half: torch.dtype) -> None:
    A = torch.eye(3)
    with torch.autocast("cpu", half):
        H = A @ A
        assert H.dtype == half
        for X in (H, H.float(), H.double(), H.to(torch.complex64)):
            expected = torch.linalg.eigh(X)
            with sg.stand_in():
                for result in (sg.eigh(X), torch.linalg.eigh(X)):
                    assert [x.dtype for x in result] == [x.dtype for x in expected]
                    assert torch.equal(result[0], expected[0])
                assert torch.linalg.eigvalsh(X).dtype == expected[0].dtype
        compiled = torch.compile(lambda X: (sg.eigh(X)[0], sg.funm(X, torch.exp)), backend="aot_eager", fullgraph=True)
        assert [x.dtype for x in compiled(H)] == [torch.float32] * 2
    torch._dynamo.reset()


# --- checkpoints, messages, arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [sg.Gated(), sg.Lorentzian(1e-3, True), sg.Split(order=2), sg.Cutoff(0.5), sg.Bare()], ids=repr
)
def test_rules_are_loaded_with_weights_only(rule: sg.Rule) -> None:
    file = io.BytesIO()
    torch.save({"rule": rule, "A": torch.eye(2)}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["rule"] == rule


def test_out_as_torch_takes_it() -> None:
    A = distinct(3, torch.float64, 0)
    out = [torch.empty(3, dtype=A.dtype), torch.empty(3, 3, dtype=A.dtype)]
    result = sg.eigh(A, out=out)
    assert result[0] is out[0]
    assert torch.equal(out[0], sg.eigh(A)[0])
    assert torch.equal(out[1], sg.eigh(A)[1])
    with sg.stand_in():
        assert torch.equal(torch.linalg.eigh(input=A, out=out)[0], out[0])
        assert torch.equal(torch.linalg.eigvalsh(input=A), sg.eigvalsh(A))
    assert torch.equal(sg.eigh(input=A, UPLO="U")[0], sg.eigh(A, "U")[0])
    assert torch.equal(sg.eigvalsh(input=A, UPLO="U"), sg.eigvalsh(A=A, UPLO="U"))
    for f in (sg.eigh, sg.eigvalsh):
        with pytest.raises(TypeError, match=rf"{f.__name__}: Expected A or input, two names of one argument, but"):
            f(A, input=A)
        for call in (lambda: f(), lambda: f(None), lambda: f(input=None)):  # noqa: B023
            with pytest.raises(TypeError, match=rf"{f.__name__}: Expected A to be a Tensor, but got NoneType"):
                call()
        torchs = getattr(torch.linalg, f.__name__)
        for args, kwargs, message in (
            ((A,), {"input": A}, "multiple values for argument 'input'"),
            ((), {"A": A}, "missing 1 required positional arguments"),
            ((A,), {"foo": 1}, "unexpected keyword argument 'foo'"),
        ):
            with pytest.raises(TypeError, match=message):
                torchs(*args, **kwargs)
            with pytest.raises(TypeError, match=message), sg.stand_in():  # torch's own
                torchs(*args, **kwargs)
    for wrong, got in (((out[0],), "tuple"), ([out[0]], "list")):
        with pytest.raises(TypeError, match=rf"eigvalsh: Expected out to be a Tensor, but got {got}"):
            sg.eigvalsh(A, out=wrong)  # type: ignore[arg-type]
    for bad, got in (((out[0],), "a tuple of 1"), ([out[0], 1], "a list of Tensor, int"), (1, "int")):
        with pytest.raises(TypeError, match=rf"eigh: Expected out to be a tuple of 2 Tensors .*, but got {got}"):
            sg.eigh(A, out=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_projector_takes_numpys_integers(integer: Callable[[int], Any]) -> None:
    A = distinct(4, torch.float64, 0)
    assert torch.equal(sg.spectral_projector(A, integer(1), integer(3)), sg.spectral_projector(A, 1, 3))
    for wrong in (1.0, np.float64(1), True, np.bool_(True), "1"):
        with pytest.raises(TypeError, match="Expected start to be an int, but got"):
            sg.spectral_projector(A, wrong, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm, sg.sqrtm, lambda A: sg.funm(A, torch.exp)])
def test_sparse_input(f: Callable[[Tensor], Any]) -> None:
    with pytest.raises(
        NotImplementedError, match=r"Expected A to be a dense tensor, but its layout is Sparse; call to_d"
    ):
        f(torch.eye(3).to_sparse())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_power_beyond_the_range_of_float(sign: int) -> None:
    with pytest.raises(ValueError, match="powm: Expected p to fit into a float64, but it is too large"):
        sg.powm(torch.eye(2), sign * 10**400)


@pytest.mark.parametrize("wrong", ["1", None, True, 1j])
def test_epsilon_that_is_no_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="from_epsilon: Expected epsilon to be a number, but got"):
        sg.Lorentzian.from_epsilon(wrong)


def test_a_bool_is_not_accepted_as_a_number() -> None:
    with pytest.raises(TypeError, match="Split: Expected order to be 1 or 2, but got True"):
        sg.Split(order=True)
    with pytest.raises(TypeError, match="Lorentzian: Expected width to be a number, but got False"):
        sg.Lorentzian(False)
    assert sg.Lorentzian(1.0, relative=True).relative


def test_a_decorator_without_parentheses() -> None:
    with pytest.raises(TypeError, match=r"written @spectralgrad\.stand_in\(\), with parentheses"):

        @sg.stand_in  # type: ignore[arg-type]
        def f() -> None: ...


# --- A may be changed in place ---------------------------------------------------------------------------------------

# Their derivatives use A itself, or given eigenvectors, as those of torch.matmul do.
USE_A = ("polar", "orthogonal_procrustes", "rigid_alignment", "canonical_gauge", "track")


@pytest.mark.parametrize("name", USE_A)
def test_a_change_in_place_is_noticed(name: str) -> None:
    X = torch.eye(4, dtype=torch.float64).requires_grad_()
    A = X * 1
    y = FUNCTIONS[name](A)
    A.mul_(3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("f", [pytest.param(f, id=name) for name, f in FUNCTIONS.items() if name not in USE_A])
def test_a_change_in_place_does_not_matter(
    f: Callable[[Tensor], Tensor], dtype: torch.dtype, leaf: bool, create_graph: bool
) -> None:
    """First and second derivatives are those at the matrix that the function was called with."""
    Z = random_hermitian(4, 4, dtype=dtype, seed=0)
    positive = Z @ Z + torch.eye(4)
    M = random_hermitian(4, 4, dtype=dtype, seed=1)

    def derivatives(change: bool) -> list[Tensor]:
        X = positive.clone().requires_grad_()
        A = X if leaf else X * 1
        y = f(A)
        if change:
            with torch.no_grad():
                A.mul_(3).add_(torch.eye(4))
        weighted = y * M[..., : y.shape[-1]].conj() if y.dim() else y
        (G,) = torch.autograd.grad(weighted.real.sum(), X, create_graph=create_graph)
        if not create_graph:
            return [G]
        return [G, torch.autograd.grad((G * M.conj()).real.sum(), X)[0]]

    for changed, expected in zip(derivatives(True), derivatives(False), strict=True):
        assert float(expected.detach().abs().max()) > 1e-6
        assert torch.equal(changed, expected)


def test_a_change_in_place_that_is_differentiated() -> None:
    """A.mul_(2) moves A to another node of the graph; the function keeps the node that it was called with."""
    X = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    A = X * 1
    y = sg.powm(A, 3)[0, 0]
    A.mul_(2)
    (G,) = torch.autograd.grad(y + A[1, 1], X, create_graph=True)
    assert torch.equal(G.detach(), torch.diag(torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64)))
    (H,) = torch.autograd.grad(G[0, 0], X)
    torch.testing.assert_close(H, torch.diag(torch.tensor([6.0, 0.0, 0.0], dtype=torch.float64)), rtol=0, atol=1e-13)
