"""One table: every transform × real and complex × distinct and exactly degenerate, by values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fw
import torch.utils.checkpoint
from torch import Tensor

import reference
import spectralgrad as sg
from problems import DOUBLE, distinct, expectation, hermitian_part, projector, random_hermitian, with_spectrum
from reference import relative_error

COLUMNS = slice(1, 3)


@pytest.fixture(autouse=True)
def no_compiled_code_left() -> Iterator[None]:
    yield
    torch._dynamo.reset()


Function = Callable[[Tensor], Tensor]


def _direct(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    return torch.autograd.grad(f(X), X)[0]


def _batched_cotangents(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    weights = torch.tensor([2.0, -3.0], dtype=torch.float64, device=A.device)
    return torch.autograd.grad(f(X), X, weights, is_grads_batched=True)[0][1] / -3


def _checkpointed(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(f, X, use_reentrant=False).backward()
    return X.grad


def _in_basis(A: Tensor, directional: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient from the derivatives along each entry (and, for a complex one, along i times it)."""
    G = torch.zeros_like(A)
    for index in range(A.numel()):
        E = torch.zeros_like(A)
        E.view(-1)[index] = 1
        G.view(-1)[index] = directional(E)
        if A.is_complex():
            G.view(-1)[index] += 1j * directional(1j * E)
    return G


def _dual(f: Function, A: Tensor) -> Tensor:
    def directional(E: Tensor) -> Tensor:
        with fw.dual_level():
            return fw.unpack_dual(f(fw.make_dual(A, E))).tangent

    return _in_basis(A, directional)


def _func_jvp(f: Function, A: Tensor) -> Tensor:
    return _in_basis(A, lambda E: torch.func.jvp(f, (A,), (E,))[1])


def _vmapped_jvp(f: Function, A: Tensor) -> Tensor:
    n = A.numel()
    basis = torch.eye(n, dtype=A.dtype, device=A.device).reshape(n, *A.shape)
    along = torch.func.vmap(lambda E: torch.func.jvp(f, (A,), (E,))[1])
    G = along(basis).to(A.dtype)
    return (G + 1j * along(1j * basis) if A.is_complex() else G).reshape(A.shape)


def _compiled(backend: str) -> Callable[[Function, Tensor], Tensor]:
    return lambda f, A: _direct(torch.compile(f, backend=backend, fullgraph=True), A)


FIRST: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "autograd.grad": _direct,
    "is_grads_batched": _batched_cotangents,
    "checkpoint": _checkpointed,
    "functional.vjp": lambda f, A: torch.autograd.functional.vjp(f, A)[1],
    "dual numbers": _dual,
    "func.grad": lambda f, A: torch.func.grad(f)(A),
    "func.vjp": lambda f, A: torch.func.vjp(f, A)[1](torch.ones((), dtype=torch.float64, device=A.device))[0],
    "func.jvp": _func_jvp,
    "vmap(jvp)": _vmapped_jvp,
    "vmap(grad)": lambda f, A: torch.func.vmap(torch.func.grad(f))(torch.stack([2 * A, A]))[1],
    "vmap(vmap(grad))": lambda f, A: torch.func.vmap(torch.func.vmap(torch.func.grad(f)))(A.expand(2, 3, *A.shape))[
        1, 2
    ],
    "vmap at the end": lambda f, A: torch.func.vmap(torch.func.grad(f), in_dims=-1)(torch.stack([2 * A, A], -1))[1],
    "linearize": lambda f, A: _in_basis(A, torch.func.linearize(f, A)[1]),
    "compile(eager)": _compiled("eager"),
    "compile(aot_eager)": _compiled("aot_eager"),
    "compile(func.grad)": lambda f, A: torch.compile(torch.func.grad(f), backend="aot_eager", fullgraph=True)(A),
}
SPECTRA = {"distinct": [-1.0, 0.5, 1.5, 3.0], "degenerate": [-1.0, 1.0, 1.0, 3.0]}


def problem(spectrum: list[float], dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Function, Tensor]:
    A, M = with_spectrum(spectrum, dtype, 0), random_hermitian(4, 4, dtype=dtype, seed=1)
    on_device = M.to(device)

    def f(X: Tensor) -> Tensor:
        return expectation(on_device, projector(sg.eigh(hermitian_part(X)).eigenvectors, COLUMNS))

    return A, M, f, reference.frechet(A, M, reference.projector(COLUMNS.start, COLUMNS.stop))


@pytest.mark.parametrize("transform", FIRST.values(), ids=FIRST)
@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_first_derivatives(
    spectrum: list[float], dtype: torch.dtype, transform: Callable[..., Tensor], device: str
) -> None:
    A, _, f, expected = problem(spectrum, dtype, device)
    assert relative_error(transform(f, A.to(device)), expected) <= 1e-13


def _grad_of_grad(f: Function, A: Tensor, E: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(f(X), X, create_graph=True)
    return torch.autograd.grad(G, X, E)[0]


SECOND: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "grad(grad)": _grad_of_grad,
    "functional.hvp": lambda f, A, E: torch.autograd.functional.hvp(f, A, E)[1],
    "functional.vhp": lambda f, A, E: torch.autograd.functional.vhp(f, A, E)[1],
    "jvp(grad)": lambda f, A, E: torch.func.jvp(torch.func.grad(f), (A,), (E,))[1],
    "vjp(grad)": lambda f, A, E: torch.func.vjp(torch.func.grad(f), A)[1](E)[0],
    "grad(jvp)": lambda f, A, E: torch.func.grad(lambda X: torch.func.jvp(f, (X,), (E,))[1])(A),
    "vmap(jvp(grad))": lambda f, A, E: torch.func.vmap(lambda t: torch.func.jvp(torch.func.grad(f), (A,), (t,))[1])(
        torch.stack([2 * E, E])
    )[1],
    "compile(jvp(grad))": lambda f, A, E: torch.compile(
        lambda X: torch.func.jvp(torch.func.grad(f), (X,), (E,))[1], backend="aot_eager", fullgraph=True
    )(A),
}


@pytest.mark.parametrize("transform", SECOND.values(), ids=SECOND)
@pytest.mark.parametrize("dtype", DOUBLE)
def test_second_derivatives_off_degeneracy(dtype: torch.dtype, transform: Callable[..., Tensor], device: str) -> None:
    A, M, f, _ = problem(SPECTRA["distinct"], dtype, device)
    E = random_hermitian(4, 4, dtype=dtype, seed=2)
    expected = reference.second_frechet(A, M, E, reference.projector(COLUMNS.start, COLUMNS.stop))
    assert relative_error(transform(f, A.to(device), E.to(device)), expected) <= 1e-12


HESSIANS: dict[str, Callable[[Function], Function]] = {
    "hessian": torch.func.hessian,
    "jacrev(jacrev)": lambda f: torch.func.jacrev(torch.func.jacrev(f)),
    "jacfwd(jacfwd)": lambda f: torch.func.jacfwd(torch.func.jacfwd(f)),
    "jacrev(jacfwd)": lambda f: torch.func.jacrev(torch.func.jacfwd(f)),
    "vmap(hessian)": lambda f: lambda A: torch.func.vmap(torch.func.hessian(f))(torch.stack([2 * A, A]))[1],
    "functional.hessian": lambda f: lambda A: torch.autograd.functional.hessian(f, A),
    "compile(hessian)": lambda f: torch.compile(torch.func.hessian(f), backend="aot_eager", fullgraph=True),
}


@pytest.mark.parametrize("transform", HESSIANS.values(), ids=HESSIANS)
def test_hessians_off_degeneracy(transform: Callable[[Function], Function], device: str) -> None:
    A, M, f, _ = problem(SPECTRA["distinct"], torch.float64, device)
    H = transform(f)(A.to(device))
    for seed in (2, 3):
        E = random_hermitian(4, 4, dtype=torch.float64, seed=seed)
        expected = reference.second_frechet(A, M, E, reference.projector(COLUMNS.start, COLUMNS.stop))
        assert relative_error(torch.einsum("ijkl,kl->ij", H.cpu(), E), expected) <= 1e-12


@pytest.mark.parametrize("exactly", [True, False], ids=["exact", "rounding-level"])
@pytest.mark.parametrize("name", ["grad(grad)", "functional.hvp", "jvp(grad)", "vjp(grad)", "grad(jvp)"])
def test_second_derivatives_at_a_degeneracy_are_not_silently_wrong(name: str, exactly: bool) -> None:
    """Part of them is a limit 0/0 there, for every rule that does not split: right, or a warning."""
    A, M, f, _ = problem(SPECTRA["degenerate"], torch.float64, "cpu")
    if exactly:
        A = torch.diag(torch.tensor(SPECTRA["degenerate"], dtype=torch.float64))
    E = random_hermitian(4, 4, dtype=torch.float64, seed=2)
    expected = reference.second_frechet(A, M, E, reference.projector(COLUMNS.start, COLUMNS.stop))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        product = SECOND[name](f, A, E)
    warned = any(issubclass(w.category, sg.GaugeWarning) for w in caught)
    assert relative_error(product, expected) <= 1e-6 or warned


# --- the operators themselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "requires_grad"), [(torch.float64, False), (torch.complex128, True)])
@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_operator_is_well_formed(requires_grad: bool, name: str, dtype: torch.dtype) -> None:
    A = torch.stack([distinct(3, dtype, seed) for seed in range(2)]).requires_grad_(requires_grad)
    operator = getattr(torch.ops.spectralgrad, name).default
    # Eigenvectors as they are depend on phases: opcheck's random cotangents would be refused.
    with sg.checks("ignore"):
        torch.library.opcheck(operator, (A, "L"), {"rule": "gated", "parameters": [4.0, 2.0]})


def test_meta_tensors_have_the_layout_of_real_ones() -> None:
    A = random_hermitian(2, 3, 3, dtype=torch.complex64, seed=0)
    for real, meta in zip(sg.eigh(A), sg.eigh(A.to("meta")), strict=True):
        assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())
    assert sg.eigvalsh(A.to("meta")).shape == (2, 3)


# --- rules under torch.compile ---------------------------------------------------------------------------------------


def F(A: Tensor, eigh: Callable[..., Any]) -> float:
    """What the rule in force makes of 1/1."""
    X = A.clone().requires_grad_()
    V = eigh(X)
    return float(torch.autograd.grad(V, X, torch.tensor([[0, 2], [0, 0]], dtype=A.dtype))[0][0, 1])


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_follows_the_default_rule(backend: str) -> None:
    A = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))

    @torch.compile(backend=backend, fullgraph=True)
    def by_default(X: Tensor) -> Tensor:
        return sg.eigh(X).eigenvectors

    @torch.compile(backend=backend, fullgraph=True)
    def inside(X: Tensor) -> Tensor:
        with sg.use_rule(sg.Lorentzian(2.0)):
            return sg.eigh(X).eigenvectors

    @torch.compile(backend=backend, fullgraph=True)
    def given(X: Tensor) -> Tensor:
        return sg.eigh(X, rule=sg.Lorentzian(3.0)).eigenvectors

    assert F(A, by_default) == pytest.approx(1)
    with sg.use_rule(sg.Lorentzian(1.0)):
        assert F(A, by_default) == 0.5
        assert F(A, inside) == pytest.approx(0.2)
        assert F(A, given) == pytest.approx(0.1)
    assert F(A, by_default) == pytest.approx(1)
    sg.set_default_rule(sg.Cutoff(2.0))
    try:
        assert F(A, by_default) == 0
        assert F(A, inside) == pytest.approx(0.2)
    finally:
        sg.set_default_rule(sg.Gated())
    assert F(A, by_default) == pytest.approx(1)


def test_compiled_code_stands_in() -> None:
    A = torch.eye(3, dtype=torch.float64).requires_grad_()

    @torch.compile(backend="aot_eager", fullgraph=True)
    def loss(X: Tensor) -> Tensor:
        L, V = torch.linalg.eigh(X)
        return L.sum() + V.square().sum()

    assert bool(torch.autograd.grad(loss(A), A)[0].isnan().any())
    with sg.stand_in():
        assert torch.equal(torch.autograd.grad(loss(A), A)[0], torch.eye(3, dtype=torch.float64))
    assert bool(torch.autograd.grad(loss(A), A)[0].isnan().any())


def test_export() -> None:
    class Values(torch.nn.Module):
        def forward(self, X: Tensor) -> Tensor:
            return sg.eigh(X, rule=sg.Split(0.5)).eigenvalues

    A = torch.stack([distinct(3, torch.float64, seed) for seed in range(2)])
    program = torch.export.export(Values(), (A,))
    assert "spectralgrad.eigh" in str(program.graph)
    assert torch.equal(program.module()(A), Values()(A))
