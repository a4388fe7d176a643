"""The derivatives of every operation under every transform, real and complex, at distinct and degenerate eigenvalues.

A new operation needs one line in OPERATIONS.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
import torch._dynamo
import torch._dynamo.testing
import torch.autograd.forward_ad as fw
import torch.utils.checkpoint
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor

import reference
import spectralgrad as sg
from operator_cases import FUNCTIONS
from problems import DOUBLE, distinct, expectation, hermitian_part, projector, random_hermitian, with_spectrum
from reference import relative_error
from spectralgrad import _high_precision as exact

Function = Callable[[Tensor], Tensor]


class Operation(NamedTuple):
    """A smooth loss of (X, M), and the weights with which `reference.frechet` computes its gradient from M."""

    loss: Callable[[Tensor, Tensor], Tensor]
    weights: reference.Weights
    m_is_identity: bool = False  # M is the identity
    exact: bool = False  # second derivatives are right at a degeneracy


def _positive(X: Tensor) -> Tensor:
    """The singular values of a positive definite matrix are its eigenvalues, in descending order."""
    return hermitian_part(X) + (4 + 0 * X[..., 0].real).diag_embed()


def _riesz_projector(X: Tensor) -> Tensor:
    """Onto the second and the third eigenvalue."""
    L, V = sg.eig(X)
    order = L.real.argsort(-1).unsqueeze(-2).expand(V.shape)
    V = V.gather(-1, order)
    return V[..., 1:3] @ torch.linalg.inv(V)[..., 1:3, :]


def _svd_projector(X: Tensor) -> Tensor:
    n = X.shape[-1]
    U, _, Vh = sg.svd(_positive(X))
    inside = slice(n - 3, n - 1)
    return (projector(U, inside) + U[..., inside] @ Vh[..., inside, :]) / 2


def _generalized_projector(X: Tensor) -> Tensor:
    """Eigenvalues and eigenvectors of A = X, B = X + 4 are in the order of those of X. V Vᴴ B is the projector."""
    B = _positive(X)
    V = sg.generalized_eigh(X, B).eigenvectors
    return projector(V, slice(1, 3)) @ B


def _svd_truncated_projector(X: Tensor) -> Tensor:
    """Onto the eigenvector of the lowest eigenvalue, which is dropped, minus the identity."""
    U, _, Vh = sg.svd_truncated(_positive(X), X.shape[-1] - 1, keep_multiplets=False)
    return -(U @ U.mH + U @ Vh) / 2


def _rotation(X: Tensor) -> Tensor:
    """sign(X) of a real form of X with each eigenvalue twice, so that its determinant is positive, back as X."""
    # Not zeros_like: torch.export would lose a constant inside torch.func.
    real, imaginary = (X.real, X.imag) if X.is_complex() else (X, 0 * X)
    S = torch.cat([torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)], -2)
    R = sg.rigid_alignment(torch.cat([S, -S], -2), torch.cat([S @ S, -S @ S], -2)).rotation
    n = X.shape[-1]
    return torch.complex(R[..., :n, :n], R[..., n:, :n]) if X.is_complex() else R[..., :n, :n]


def _tracked(X: Tensor) -> Tensor:
    """The eigenvectors at the start of a path from X to X. With `Split`, second derivatives of phases are round-off."""
    L, V = sg.eigh(torch.stack([X, X], -3))
    return sg.track(L, V).eigenvectors[..., 0, :, :]


def _named_functions(X: Tensor, M: Tensor) -> Tensor:
    P = X + (4 + 0 * X[..., 0]).diag_embed()  # torch.export would lose a constant inside torch.func
    total = sg.expm(X) + sg.logm(P) + sg.sqrtm(P) + sg.invsqrtm(P) + sg.powm(P, 1.5) + sg.powm(X, 3)
    return expectation(M, total)


def _named_function(x: Any) -> Any:
    p = x + 4
    return mpmath.exp(x) + mpmath.log(p) + mpmath.sqrt(p) + 1 / mpmath.sqrt(p) + p ** mpmath.mpf("1.5") + x**3


def _named_function_slope(x: Any) -> Any:
    p, half = x + 4, mpmath.mpf("0.5")
    of_p = 1 / p + half / mpmath.sqrt(p) - half * p ** (-3 * half) + 3 * half * mpmath.sqrt(p)
    return mpmath.exp(x) + of_p + 3 * x**2


def _occupations(values: Any) -> Any:
    """The gradient of the free energy is the density matrix, of four electrons."""
    kT = mpmath.mpf(1) / 2

    def fermi(mu: Any) -> list[Any]:
        return [2 / (1 + mpmath.exp((x - mu) / kT)) for x in values]

    mu = mpmath.findroot(lambda mu: sum(fermi(mu)) - 4, (min(values), max(values)), solver="anderson")
    return exact.eigenvalue_weights(values, fermi(mu))


OPERATIONS = {
    "eig": Operation(lambda X, M: expectation(M + 0j, _riesz_projector(X)), reference.projector(1, 3)),
    "eigh": Operation(
        lambda X, M: expectation(M, projector(sg.eigh(X).eigenvectors, slice(1, 3))), reference.projector(1, 3)
    ),
    "eigh_subset": Operation(
        lambda X, M: expectation(M, projector(sg.eigh_subset(X, 1, 3).eigenvectors, slice(0, 2))),
        reference.projector(1, 3),
    ),
    "eigvals": Operation(
        lambda X, M: sg.eigvals(X).exp().sum().real, reference.function(mpmath.exp, mpmath.exp), m_is_identity=True
    ),
    "eigvalsh": Operation(
        lambda X, M: sg.eigvalsh(X).exp().sum(), reference.function(mpmath.exp, mpmath.exp), m_is_identity=True
    ),
    "generalized_eigh": Operation(lambda X, M: expectation(M, _generalized_projector(X)), reference.projector(1, 3)),
    "svd": Operation(lambda X, M: expectation(M, _svd_projector(X)), reference.projector(1, 3)),
    "svd_truncated": Operation(lambda X, M: expectation(M, _svd_truncated_projector(X)), reference.projector(0, 1)),
    "svdvals": Operation(
        lambda X, M: sg.svdvals(_positive(X)).sin().sum(),
        reference.function(lambda x: mpmath.sin(x + 4), lambda x: mpmath.cos(x + 4)),
        m_is_identity=True,
    ),
    "polar": Operation(
        lambda X, M: expectation(M, sg.polar(X).U + sg.polar(X).P),
        reference.function(lambda x: abs(x) + mpmath.sign(x), mpmath.sign),
        exact=True,
    ),
    "orthogonal_procrustes": Operation(
        lambda X, M: expectation(M, sg.orthogonal_procrustes(X, X @ X).R),
        reference.function(mpmath.sign, lambda x: 0 * x),
        exact=True,
    ),
    "rigid_alignment": Operation(
        lambda X, M: expectation(M, _rotation(X)), reference.function(mpmath.sign, lambda x: 0 * x), exact=True
    ),
    "expm, logm, sqrtm, invsqrtm, powm": Operation(
        _named_functions, reference.function(_named_function, _named_function_slope), exact=True
    ),
    "funm": Operation(
        lambda X, M: expectation(M, sg.funm(X, torch.tanh)),  # autograd finds the derivatives of tanh
        reference.function(mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
        exact=True,
    ),
    "trace_funm": Operation(
        lambda X, M: sg.trace_funm(X, torch.sin, torch.cos, lambda x: -torch.sin(x)),
        reference.function(mpmath.sin, mpmath.cos),
        m_is_identity=True,
        exact=True,
    ),
    "trace_sqrtm": Operation(
        lambda X, M: sg.trace_sqrtm(X + (4 + 0 * X[..., 0]).diag_embed()),
        reference.function(lambda x: mpmath.sqrt(x + 4), lambda x: 1 / (2 * mpmath.sqrt(x + 4))),
        m_is_identity=True,
        exact=True,
    ),
    "pinvm": Operation(
        lambda X, M: expectation(M, sg.pinvm(X)), reference.function(lambda x: 1 / x, lambda x: -1 / x**2), exact=True
    ),
    "pseudo_logdet": Operation(
        lambda X, M: sg.pseudo_logdet(X + (4 + 0 * X[..., 0]).diag_embed()),
        reference.function(lambda x: mpmath.log(x + 4), lambda x: 1 / (x + 4)),
        m_is_identity=True,
        exact=True,
    ),
    # The sum over a cluster of equal eigenvalues is tr(M P) for its projector P.
    "eigvalsh_directional": Operation(
        lambda X, M: sg.eigvalsh_directional(X, M)[..., 1:3].sum(), reference.projector(1, 3)
    ),
    "canonical_gauge": Operation(
        lambda X, M: expectation(M, projector(sg.canonical_gauge(*sg.eigh(X)), slice(1, 3))), reference.projector(1, 3)
    ),
    "track": Operation(lambda X, M: expectation(M, projector(_tracked(X), slice(1, 3))), reference.projector(1, 3)),
    "spectral_projector": Operation(
        lambda X, M: expectation(M, sg.spectral_projector(X, 1, 3)), reference.projector(1, 3), exact=True
    ),
    "density_matrix": Operation(
        # A literal kT: torch.compile takes a global number for one that may change, and compiles twice.
        lambda X, M: sg.density_matrix(X, electrons=4, kT=0.5, full_output=True).free_energy,
        _occupations,
        m_is_identity=True,
        exact=True,
    ),
}
# Split moves real eigenvalues and singular values only.
WITHOUT_SPLIT = {"eig", "eigvals", "eigvalsh_directional"}
# spectral_map cannot be traced into a graph. tests/python/test_spectral_map.py has its transforms.
WITHOUT_GRAPHS = {"spectral_map"}
EXACT = [name for name, operation in OPERATIONS.items() if operation.exact]
INEXACT = [name for name in OPERATIONS if name not in EXACT]
SPECTRA = {"distinct": [-1.0, 0.5, 1.5, 3.0], "degenerate": [-1.0, 1.0, 1.0, 3.0]}


class Problem(NamedTuple):
    A: Tensor
    M: Tensor
    f: Function
    weights: reference.Weights

    def gradient(self) -> Tensor:
        return reference.frechet(self.A, self.M, self.weights)

    def hessian_times(self, E: Tensor) -> Tensor:
        return reference.second_frechet(self.A, self.M, E, self.weights)


def problem(name: str, spectrum: list[float], dtype: torch.dtype, device: str = "cpu") -> Problem:
    operation = OPERATIONS[name]
    n = len(spectrum)
    M = torch.eye(n, dtype=dtype) if operation.m_is_identity else random_hermitian(n, n, dtype=dtype, seed=1)
    on_device = M.to(device)
    A = with_spectrum(spectrum, dtype, 0).to(device)
    return Problem(A, M, lambda X: operation.loss(hermitian_part(X), on_device), operation.weights)


each_operation = pytest.mark.parametrize("operation", OPERATIONS)
each_exact_operation = pytest.mark.parametrize("operation", EXACT)
each_splitting_operation = pytest.mark.parametrize("operation", [name for name in INEXACT if name not in WITHOUT_SPLIT])
each_inexact_operation = pytest.mark.parametrize("operation", INEXACT)
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
each_spectrum = pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)


def test_every_function_has_a_line() -> None:
    listed = {name for names in OPERATIONS for name in names.split(", ")}
    assert sorted((set(FUNCTIONS) - WITHOUT_GRAPHS) ^ listed) == []


# --- first derivatives -----------------------------------------------------------------------------------------------


def _backward(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    f(X).backward()
    assert X.grad is not None
    return X.grad


def _direct(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    return torch.autograd.grad(f(X), X)[0]


def _with_graph(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    return torch.autograd.grad(f(X), X, create_graph=True)[0].detach()


def _batched_cotangents(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    weights = torch.tensor([2.0, -3.0], dtype=torch.float64, device=A.device)
    return torch.autograd.grad(f(X), X, weights, is_grads_batched=True)[0][1] / -3


def _checkpointed(use_reentrant: bool) -> Callable[[Function, Tensor], Tensor]:
    def checkpointed(f: Function, A: Tensor) -> Tensor:
        return _backward(lambda X: torch.utils.checkpoint.checkpoint(f, X, use_reentrant=use_reentrant), A)

    return checkpointed


def _retained(f: Function, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    y = f(X)
    (first,) = torch.autograd.grad(y, X, retain_graph=True)
    (second,) = torch.autograd.grad(y, X)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(y, X)
    return second


def _within(context: Callable[[], contextlib.AbstractContextManager[Any]]) -> Callable[[Function, Tensor], Tensor]:
    def within(f: Function, A: Tensor) -> Tensor:
        with context():
            return _direct(f, A)

    return within


def _packed(f: Function, A: Tensor) -> Tensor:
    """The derivative must use the tensors that the hooks return, and keep no others."""
    packed: list[Tensor] = []

    def pack(x: Tensor) -> int:
        packed.append(x.detach().clone())
        return len(packed) - 1

    X = A.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda index: packed[index]):
        y = f(X)
    assert packed
    return torch.autograd.grad(y, X)[0]


def _in_threads(f: Function, A: Tensor) -> Tensor:
    """Backward in several threads at once, each through its own graph and all through one."""
    shared = A.clone().requires_grad_()
    y = f(shared)
    gradients: list[Tensor] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5):
            gradients.append(_direct(f, A))
            gradients.append(torch.autograd.grad(y, shared, retain_graph=True)[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gradients) == 40
    return max(gradients, key=lambda G: float((G - gradients[0]).abs().max()))


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


def _with_real_argument(f: Function, A: Tensor) -> tuple[Function, Tensor]:
    """f as a function of real numbers, because torch.func.jacfwd takes no derivative along i."""
    return (lambda R: f(torch.view_as_complex(R)), torch.view_as_real(A)) if A.is_complex() else (f, A)


def _jacobian(jacobian: Callable[[Function], Function]) -> Callable[[Function, Tensor], Tensor]:
    def gradient(f: Function, A: Tensor) -> Tensor:
        g, R = _with_real_argument(f, A)
        J = jacobian(g)(R)
        return torch.view_as_complex(J.contiguous()) if A.is_complex() else J

    return gradient


def _vmap_then_backward(f: Function, A: Tensor) -> Tensor:
    X = torch.stack([2 * A, A]).requires_grad_()
    return torch.autograd.grad(torch.func.vmap(f)(X)[1], X)[0][1]


def _nested(f: Function, A: Tensor) -> Tensor:
    # (n, 2, 3, n): the outer vmap takes dimension 1, the inner one dimension 1 of the remaining dimensions.
    X = A.expand(2, 3, *A.shape).permute(2, 0, 1, 3)
    grad = torch.func.vmap(torch.func.vmap(torch.func.grad(f), in_dims=1, out_dims=-1), in_dims=1, out_dims=1)
    return grad(X)[:, 1, :, 2]


@contextlib.contextmanager
def _one_fake_mode() -> Iterator[None]:
    """Without it, make_fx creates a FakeTensorMode, which records a stack trace, for each tensor of the graph."""
    with torch._guards.tracing(torch._guards.TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
        yield


def _linearized(f: Function, A: Tensor) -> Function:
    with _one_fake_mode():
        along: Function = torch.func.linearize(f, A)[1]
    return along


def _traced(f: Function, A: Tensor) -> Tensor:
    with _one_fake_mode():
        gradient = make_fx(torch.func.grad(f))(2 * A)
    assert "spectralgrad" in gradient.code
    return gradient(A)


FIRST: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "backward": _backward,
    "autograd.grad": _direct,
    "create_graph": _with_graph,
    "is_grads_batched": _batched_cotangents,
    "retain_graph": _retained,
    "checkpoint": _checkpointed(False),
    "reentrant checkpoint": _checkpointed(True),
    "saved-tensor hooks": _packed,
    "save_on_cpu": _within(torch.autograd.graph.save_on_cpu),
    "allow_mutation_on_saved_tensors": _within(torch.autograd.graph.allow_mutation_on_saved_tensors),
    "anomaly mode": _within(torch.autograd.detect_anomaly),
    "one thread": _within(lambda: torch.autograd.set_multithreading_enabled(False)),
    "threads": _in_threads,
    "functional.vjp": lambda f, A: torch.autograd.functional.vjp(f, A)[1],
    "functional.jacobian": _jacobian(lambda f: lambda A: torch.autograd.functional.jacobian(f, A)),
    "dual numbers": _dual,
    "func.grad": lambda f, A: torch.func.grad(f)(A),
    "func.vjp": lambda f, A: torch.func.vjp(f, A)[1](torch.ones((), dtype=torch.float64, device=A.device))[0],
    "func.jvp": _func_jvp,
    "jacrev": _jacobian(torch.func.jacrev),
    "jacrev, one row at a time": _jacobian(lambda f: torch.func.jacrev(f, chunk_size=1)),
    "jacfwd": _jacobian(torch.func.jacfwd),
    "linearize": lambda f, A: _in_basis(A, _linearized(f, A)),
    "vmap(jvp)": _vmapped_jvp,
    "backward(vmap)": _vmap_then_backward,
    "vmap(grad)": lambda f, A: torch.func.vmap(torch.func.grad(f))(torch.stack([2 * A, A]))[1],
    "vmap(grad), in chunks": lambda f, A: torch.func.vmap(torch.func.grad(f), chunk_size=2)(torch.stack([2 * A, A, A]))[
        2
    ],
    "vmap(grad) at the end": lambda f, A: torch.func.vmap(torch.func.grad(f), in_dims=-1)(torch.stack([2 * A, A], -1))[
        1
    ],
    "vmap(vmap(grad)) in the middle": _nested,
    "functionalize(grad)": lambda f, A: torch.func.functionalize(torch.func.grad(f))(A),
    "make_fx(grad)": _traced,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("transform", FIRST.values(), ids=FIRST)
@each_spectrum
@each_dtype
@each_operation
def test_first_derivatives(
    operation: str, dtype: torch.dtype, spectrum: list[float], transform: Callable[..., Tensor], device: str
) -> None:
    case = problem(operation, spectrum, dtype, device)
    assert relative_error(transform(case.f, case.A), case.gradient()) <= 1e-13


@each_spectrum
@each_dtype
@each_operation
def test_recorded_derivatives_have_the_same_bits(
    operation: str, dtype: torch.dtype, spectrum: list[float], device: str
) -> None:
    """create_graph=True and torch.func.grad record the derivative, and run the same kernel."""
    case = problem(operation, spectrum, dtype, device)
    plain = FIRST["autograd.grad"](case.f, case.A)
    assert torch.equal(torch.func.grad(case.f)(case.A), plain)
    X = case.A.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(case.f(X), X, create_graph=True)[0].detach(), plain)


# --- second derivatives ----------------------------------------------------------------------------------------------


def _grad_of_grad(f: Function, A: Tensor, E: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(f(X), X, create_graph=True)
    return torch.autograd.grad(G, X, E)[0]


def _dual_of_grad(f: Function, A: Tensor, E: Tensor) -> Tensor:
    with fw.dual_level():
        X = fw.make_dual(A.clone().requires_grad_(), E)
        (G,) = torch.autograd.grad(f(X), X, create_graph=True)
        return fw.unpack_dual(G).tangent.detach()


def _checkpointed_twice(f: Function, A: Tensor, E: Tensor) -> Tensor:
    return _grad_of_grad(lambda X: torch.utils.checkpoint.checkpoint(f, X, use_reentrant=False), A, E)


def _hessian(hessian: Callable[[Function], Function]) -> Callable[[Function, Tensor, Tensor], Tensor]:
    def times(f: Function, A: Tensor, E: Tensor) -> Tensor:
        g, R = _with_real_argument(f, A)
        H = hessian(g)(R)
        product = torch.tensordot(H, torch.view_as_real(E) if A.is_complex() else E, dims=R.dim())
        return torch.view_as_complex(product.contiguous()) if A.is_complex() else product

    return times


SECOND: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "grad(grad)": _grad_of_grad,
    "grad(grad(checkpoint))": _checkpointed_twice,
    "dual numbers(grad)": _dual_of_grad,
    "functional.hvp": lambda f, A, E: torch.autograd.functional.hvp(f, A, E)[1],
    "functional.vhp": lambda f, A, E: torch.autograd.functional.vhp(f, A, E)[1],
    "jvp(grad)": lambda f, A, E: torch.func.jvp(torch.func.grad(f), (A,), (E,))[1],
    "vjp(grad)": lambda f, A, E: torch.func.vjp(torch.func.grad(f), A)[1](E)[0],
    "linearize(grad)": lambda f, A, E: _linearized(torch.func.grad(f), A)(E),
    "grad(jvp)": lambda f, A, E: torch.func.grad(lambda X: torch.func.jvp(f, (X,), (E,))[1])(A),
    "vmap(jvp(grad))": lambda f, A, E: torch.func.vmap(lambda t: torch.func.jvp(torch.func.grad(f), (A,), (t,))[1])(
        torch.stack([2 * E, E])
    )[1],
    "hessian": _hessian(torch.func.hessian),
    "jacrev(jacrev)": _hessian(lambda f: torch.func.jacrev(torch.func.jacrev(f))),
    "jacfwd(jacfwd)": _hessian(lambda f: torch.func.jacfwd(torch.func.jacfwd(f))),
    "jacrev(jacfwd)": _hessian(lambda f: torch.func.jacrev(torch.func.jacfwd(f))),
    "vmap(hessian)": _hessian(lambda f: lambda R: torch.func.vmap(torch.func.hessian(f))(torch.stack([2 * R, R]))[1]),
    "functional.hessian": _hessian(lambda f: lambda R: torch.autograd.functional.hessian(f, R)),
    "functional.hessian, vectorized": _hessian(
        lambda f: lambda R: torch.autograd.functional.hessian(f, R, vectorize=True)
    ),
}
each_second = pytest.mark.parametrize("transform", SECOND.values(), ids=SECOND)


# How often a transform computes the derivative, if not once: when linearizing and when applied, or for each row (the
# old vmap in functional.hessian is a loop, too).
COMPUTATIONS = {"linearize(grad)": 2, "functional.hessian": "rows", "functional.hessian, vectorized": "rows"}
REVERSE_OVER_REVERSE = [
    "grad(grad)",
    "grad(grad(checkpoint))",
    "functional.vhp",
    "vjp(grad)",
    "grad(jvp)",
    "jacrev(jacrev)",
    "jacrev(jacfwd)",
    "functional.hessian",
    "functional.hessian, vectorized",
]


@contextlib.contextmanager
def gauge_warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [str(w.message) for w in caught if issubclass(w.category, sg.GaugeWarning)]


def second_order_case(
    operation: str, spectrum: list[float], dtype: torch.dtype, device: str
) -> tuple[Problem, Tensor, Tensor]:
    case = problem(operation, spectrum, dtype, device)
    E = random_hermitian(4, 4, dtype=dtype, seed=2)
    return case, E.to(device), case.hessian_times(E)


@each_second
@each_dtype
@each_operation
def test_second_derivatives_off_degeneracy(
    operation: str, dtype: torch.dtype, transform: Callable[..., Tensor], device: str
) -> None:
    case, E, expected = second_order_case(operation, SPECTRA["distinct"], dtype, device)
    assert relative_error(transform(case.f, case.A, E), expected) <= 1e-12


@each_second
@each_dtype
@each_exact_operation
def test_second_derivatives_at_a_degeneracy(
    operation: str, dtype: torch.dtype, transform: Callable[..., Tensor], device: str
) -> None:
    case, E, expected = second_order_case(operation, SPECTRA["degenerate"], dtype, device)
    assert relative_error(transform(case.f, case.A, E), expected) <= 1e-12


@pytest.mark.parametrize("name", SECOND)
@each_dtype
@each_inexact_operation
def test_second_derivatives_at_a_degeneracy_warn_once(
    operation: str, dtype: torch.dtype, name: str, device: str
) -> None:
    """A part of them is a limit 0/0 there, which every rule but Split loses."""
    case, E, _ = second_order_case(operation, SPECTRA["degenerate"], dtype, device)
    with gauge_warnings() as messages:
        product = SECOND[name](case.f, case.A, E)
    computations = COMPUTATIONS.get(name, 1)
    if computations == "rows":
        computations = case.A.numel() * (2 if dtype.is_complex else 1)
    splits = operation not in WITHOUT_SPLIT
    assert len([m for m in messages if "second" in m and ("Split(order=2)" in m) == splits]) == computations
    assert bool(product.isfinite().all())


@pytest.mark.parametrize("name", REVERSE_OVER_REVERSE)
@each_inexact_operation
def test_second_derivatives_at_a_degeneracy_give_only_that_warning(operation: str, name: str) -> None:
    case, E, _ = second_order_case(operation, SPECTRA["degenerate"], torch.float64, "cpu")
    with gauge_warnings() as messages:
        SECOND[name](case.f, case.A, E)
    assert all("second" in message for message in messages)


@each_second
@each_dtype
@each_splitting_operation
def test_splitting_recovers_second_derivatives(
    operation: str, dtype: torch.dtype, transform: Callable[..., Tensor], device: str
) -> None:
    case, E, expected = second_order_case(operation, SPECTRA["degenerate"], dtype, device)
    with sg.use_rule(sg.Split(order=2)):
        assert relative_error(transform(case.f, case.A, E), expected) <= 1e-4


# --- compiled --------------------------------------------------------------------------------------------------------


compiles = pytest.mark.usefixtures("fresh_compiler")
# Compiling takes seconds per graph, so not every transform is compiled for both dtypes, and none that another one
# contains (hessian: jacrev, jacfwd, jvp of grad).
REAL, COMPLEX = DOUBLE


# The operations whose derivatives the others are made of.
ONE_OF_EACH_KIND = ["eig", "eigh", "funm", "generalized_eigh", "svd"]
each_of_a_kind = pytest.mark.parametrize("operation", ONE_OF_EACH_KIND)


def _word(argument: str | torch.dtype) -> str:
    """In the name of a test."""
    if isinstance(argument, str):
        return argument
    return "complex" if argument.is_complex else "real"


def _along(E: Tensor) -> Callable[[Function], Function]:
    return lambda f: lambda A: torch.func.jvp(f, (A,), (E,))[1]


# Each gives the gradient G, or Re<G, E>.
COMPILED_FIRST: dict[str, Callable[[Function, Tensor], Function]] = {
    "vmap(grad)": lambda f, E: (
        lambda A: torch.func.vmap(torch.func.grad(f), in_dims=-1)(torch.stack([2 * A, A], -1))[1]
    ),
    "vmap(vmap(jvp))": lambda f, E: (
        lambda A: torch.func.vmap(torch.func.vmap(_along(E)(f)), in_dims=1)(A.expand(2, 3, *A.shape))[2, 1]
    ),
}


@pytest.mark.slow
@compiles
@pytest.mark.parametrize(
    ("operation", "name", "dtype"),
    [
        *((operation, "vmap(vmap(jvp))", REAL) for operation in OPERATIONS),
        *((operation, "vmap(grad)", COMPLEX) for operation in ONE_OF_EACH_KIND),
    ],
    ids=_word,
)
def test_compiled_transforms(operation: str, name: str, dtype: torch.dtype) -> None:
    E = random_hermitian(4, 4, dtype=dtype, seed=2)
    cases = [problem(operation, spectrum, dtype) for spectrum in SPECTRA.values()]
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(COMPILED_FIRST[name](cases[0].f, E), backend=counter, fullgraph=True)
    for case in cases:
        G = case.gradient()
        result = compiled(case.A)
        expected = G if result.dim() else (G.conj() * E).sum().real
        assert relative_error(result, expected) <= 1e-13
    assert counter.frame_count == 1


COMPILED_SECOND: dict[str, Callable[[Function], Callable[[Tensor, Tensor], Tensor]]] = {
    "vjp(grad)": lambda f: lambda A, E: torch.func.vjp(torch.func.grad(f), A)[1](E)[0],
    "hessian": lambda f: lambda A, E: _hessian(torch.func.hessian)(f, A, E),
}


# The hessian is forward mode over reverse mode.
@pytest.mark.slow
@compiles
@pytest.mark.parametrize(
    ("operation", "name", "dtype"),
    [
        *((operation, "hessian", REAL) for operation in OPERATIONS),
        *((operation, "vjp(grad)", COMPLEX) for operation in ONE_OF_EACH_KIND),
    ],
    ids=_word,
)
def test_compiled_second_derivatives(operation: str, name: str, dtype: torch.dtype) -> None:
    case, E, expected = second_order_case(operation, SPECTRA["distinct"], dtype, "cpu")
    compiled = torch.compile(COMPILED_SECOND[name](case.f), backend="aot_eager", fullgraph=True)
    assert relative_error(compiled(case.A, E), expected) <= 1e-12
    degenerate, _, expected = second_order_case(operation, SPECTRA["degenerate"], dtype, "cpu")
    if operation in EXACT:
        assert relative_error(compiled(degenerate.A, E), expected) <= 1e-12
        return
    with gauge_warnings() as messages:
        assert bool(compiled(degenerate.A, E).isfinite().all())
    # Split moves no values of these operations.
    words = "second" if operation in WITHOUT_SPLIT else "Split(order=2)"
    assert len([m for m in messages if "second" in m and words in m]) == 1


# Inductor's C++ takes seconds to compile: test_aot_inductor does so at once for the operations that are missing here.
BACKENDS = [
    *((name, COMPLEX, "aot_eager") for name in OPERATIONS if name != "density_matrix"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            *((name, REAL, "inductor") for name in ("eig", "eigh", "funm")),
            ("density_matrix", COMPLEX, "aot_eager"),
            ("eigh", COMPLEX, "inductor"),
            ("eigh", REAL, "eager"),
        )
    ),
]


@compiles
@pytest.mark.parametrize(("operation", "dtype", "backend"), BACKENDS, ids=_word)
def test_compiled_backward_of_any_shape(operation: str, dtype: torch.dtype, backend: str) -> None:
    """One compilation, marked dynamic, for two sizes and for a degenerate matrix."""
    loss = OPERATIONS[operation].loss
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    compiled = torch.compile(lambda X, M: loss(hermitian_part(X), M), backend=counter, fullgraph=True, dynamic=True)
    compilations = []
    for spectrum in (SPECTRA["distinct"], SPECTRA["degenerate"], [-2.0, 1.0, 1.0, 2.0, 2.0, 3.5]):
        case = problem(operation, spectrum, dtype)
        X = case.A.clone().requires_grad_()
        assert relative_error(torch.autograd.grad(compiled(X, case.M), X)[0], case.gradient()) <= 1e-13
        compilations.append(counter.frame_count)
    assert compilations == [1, 1, 1]


@pytest.mark.slow
@compiles
@each_of_a_kind
def test_compiled_and_checkpointed(operation: str) -> None:
    if "funm" in operation.split("_"):
        pytest.skip("torch.func.grad, by which f is differentiated, refuses the hooks of a compiled checkpoint")
    case = problem(operation, SPECTRA["degenerate"], COMPLEX if operation == "eigh" else REAL)
    compiled = torch.compile(
        lambda X: torch.utils.checkpoint.checkpoint(case.f, X, use_reentrant=False), backend="aot_eager", fullgraph=True
    )
    assert relative_error(_direct(compiled, case.A), case.gradient()) <= 1e-13


@pytest.mark.slow
@compiles
@pytest.mark.parametrize("operation", [*ONE_OF_EACH_KIND, "density_matrix", "eigh_subset", "polar", "svd_truncated"])
def test_compiled_autograd(operation: str) -> None:
    """One compilation of the backward serves the distinct and the degenerate matrix."""
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    compilations = []
    for spectrum in SPECTRA.values():
        case = problem(operation, spectrum, COMPLEX)
        X = case.A.clone().requires_grad_()
        y = case.f(X)
        with torch._dynamo.compiled_autograd._enable(torch.compile(backend=counter, fullgraph=True)):
            y.backward()
        assert X.grad is not None
        assert relative_error(X.grad, case.gradient()) <= 1e-13
        compilations.append(len(counter.graphs))
    assert any(name in graph.code for graph in counter.graphs for name in ("spectralgrad", "Eigh", "Spectral"))
    assert compilations[0] == compilations[1]


@pytest.mark.slow
@compiles
@each_of_a_kind
def test_compiled_through_a_subclass(operation: str) -> None:
    """TwoTensor is torch's own example of a subclass that compilers unwrap."""
    a, b = (problem(operation, spectrum, torch.float64) for spectrum in SPECTRA.values())
    X = TwoTensor(a.A.clone(), b.A.clone()).requires_grad_()
    (G,) = torch.autograd.grad(torch.compile(a.f, backend="aot_eager", fullgraph=True)(X), X)
    assert isinstance(G, TwoTensor)
    assert relative_error(G.a, a.gradient()) <= 1e-13
    assert relative_error(G.b, b.gradient()) <= 1e-13


# --- exported --------------------------------------------------------------------------------------------------------


class Module(torch.nn.Module):
    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__()
        self.f = f

    def forward(self, *args: Tensor) -> Any:
        return self.f(*args)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "dtype", "strict"),
    [*((name, COMPLEX, False) for name in OPERATIONS), ("eigh", REAL, True)],
    ids=[*OPERATIONS, "eigh-strict"],
)
def test_export(operation: str, dtype: torch.dtype, strict: bool) -> None:
    """The exported program, also after saving and loading, has value and gradient for matrices of any size."""
    loss = OPERATIONS[operation].loss
    example = problem(operation, SPECTRA["distinct"], dtype)
    n = torch.export.Dim("n", min=3)
    program = torch.export.export(
        Module(lambda X, M: loss(hermitian_part(X), M)),
        (example.A, example.M),
        dynamic_shapes={"args": ({0: n, 1: n}, {0: n, 1: n})},
        strict=strict,
    )
    assert "spectralgrad." in str(program.graph)
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    for run in (program.module(), torch.export.load(stored).module(), program.run_decompositions().module()):
        if operation == "funm":
            X = example.A.clone().requires_grad_()
            y = run(X, example.M)
            assert relative_error(y, example.f(X)) <= 1e-13
            with pytest.raises(RuntimeError, match=r"spectralgrad\.funm: Expected df and d2f to be given"):
                torch.autograd.grad(y, X)
            continue
        for spectrum in (SPECTRA["degenerate"], [-2.0, 1.0, 1.0, 2.0, 2.0, 3.5]):
            case = problem(operation, spectrum, dtype)
            X = case.A.clone().requires_grad_()
            y = run(X, case.M)
            assert relative_error(y, case.f(X)) <= 1e-13
            assert relative_error(torch.autograd.grad(y, X)[0], case.gradient()) <= 1e-13


@each_dtype
@each_operation
def test_export_of_forward_mode(operation: str, dtype: torch.dtype) -> None:
    if operation == "funm":
        pytest.skip("torch.export records no derivative of f: df and d2f must be given, as to trace_funm here")
    loss = OPERATIONS[operation].loss
    E = random_hermitian(4, 4, dtype=dtype, seed=2)
    example, case = (problem(operation, spectrum, dtype) for spectrum in SPECTRA.values())
    program = torch.export.export(
        Module(lambda X, M, T: torch.func.jvp(lambda Y: loss(Y, M), (X,), (T,))[1]), (example.A, example.M, E)
    )
    along = program.module()(case.A, case.M, E)
    assert relative_error(along, (case.gradient().conj() * E).sum().real) <= 1e-13


@pytest.mark.slow
@each_operation
def test_export_of_reverse_mode(operation: str) -> None:
    """make_fx traces the gradient, and torch.export exports the traced function."""
    loss = OPERATIONS[operation].loss
    example, case = (problem(operation, spectrum, COMPLEX) for spectrum in SPECTRA.values())

    def loss_of_hermitian_part(X: Tensor, M: Tensor) -> Tensor:
        return loss(hermitian_part(X), M)

    traced = make_fx(torch.func.grad(loss_of_hermitian_part))(example.A, example.M)
    program = torch.export.export(traced, (example.A, example.M))
    assert relative_error(program.module()(case.A, case.M), case.gradient()) <= 1e-13


@pytest.mark.parametrize("eigh", [torch.linalg.eigh, sg.eigh], ids=["torch", "ours"])
def test_export_of_func_grad_gives_no_numbers(eigh: Callable[..., Any]) -> None:
    """torch.export records no backward, neither torch's nor ours, and we cannot make it refuse at once."""

    def loss(X: Tensor) -> Tensor:
        return eigh(X)[0].exp().sum()

    def loss_of_hermitian_part(X: Tensor) -> Tensor:
        return loss(hermitian_part(X))

    A = distinct(3, torch.float64, 0)
    program = torch.export.export(Module(torch.func.grad(loss)), (A,))
    assert isinstance(program.module()(A), FakeTensor)
    with pytest.raises(RuntimeError, match="Cannot access data pointer"):
        torch.export.export(Module(torch.func.grad(loss_of_hermitian_part)), (A,))


@pytest.mark.slow
def test_aot_inductor(tmp_path: Path) -> None:
    """Compiled to a library, whose C++ runtime calls our operators. One library for all, as each takes long."""
    double, complex_double = DOUBLE
    # funm: see test_export. eig: the runtime of torch 2.13 miscounts the arguments of an operator in its derivative.
    names = [name for name in OPERATIONS if name not in ("funm", "eig")]
    examples = {name: problem(name, SPECTRA["distinct"], double) for name in names}
    E = random_hermitian(4, 4, dtype=double, seed=2)

    def program(X: Tensor, T: Tensor, Z: Tensor) -> tuple[Tensor, ...]:
        duals = [torch.func.jvp(example.f, (X,), (T,)) for example in examples.values()]
        return (*sg.eigh(Z), sg.eigvalsh(X, rule=sg.Split(0.5)), *(x for dual in duals for x in dual))

    Z = problem("eigh", SPECTRA["degenerate"], complex_double).A
    exported = torch.export.export(Module(program), (examples["eigh"].A, E, 2 * Z))
    package = torch._inductor.aoti_compile_and_package(
        exported,
        package_path=str(tmp_path / "program.pt2"),
        # Compiling an optimised wrapper would take longer.
        inductor_configs={"aot_inductor.compile_wrapper_opt_level": "O0"},
    )
    cases = [problem(name, SPECTRA["degenerate"], double) for name in names]
    inputs = [cases[0].A, E, Z]
    outputs = torch._inductor.aoti_load_package(package)(*inputs)
    L, V, split, *duals = outputs
    torch.testing.assert_close(L, torch.tensor(SPECTRA["degenerate"], dtype=double), rtol=0, atol=1e-14)
    assert relative_error((V * L) @ V.mH, Z) <= 1e-14
    torch.testing.assert_close(split, sg.eigvalsh(cases[0].A, rule=sg.Split(0.5)), rtol=0, atol=1e-14)
    for case, y, along in zip(cases, duals[::2], duals[1::2], strict=True):
        assert relative_error(y, case.f(case.A)) <= 1e-14
        assert relative_error(along, (case.gradient() * E).sum()) <= 1e-13

    # The same package in a program without Python.
    runner = Path(__file__).parents[2] / "build/tests/cpp/run_package"
    if not runner.exists():
        pytest.skip("the C++ half needs run_package, which `make test` builds")
    torch.save(inputs, tmp_path / "inputs.pt")
    subprocess.run([runner, package, tmp_path / "inputs.pt", tmp_path / "outputs.pt"], check=True)
    for ours, theirs in zip(torch.load(tmp_path / "outputs.pt", weights_only=False), outputs, strict=True):
        assert torch.equal(ours, theirs)


# --- tensor subclasses and modes -------------------------------------------------------------------------------------


class Dispatched(Tensor):
    """A wrapper that sees what reaches the dispatcher below autograd."""

    seen: list[str] = []  # noqa: RUF012
    inside: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Dispatched:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        wrapper = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device
        )
        wrapper.inside = inner
        return wrapper

    # The signature that torch documents; Tensor declares another one.
    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        cls.seen.append(str(func))
        args, kwargs = torch.utils._pytree.tree_map_only(cls, lambda x: x.inside, (args, kwargs or {}))
        outputs = func(*args, **kwargs)
        return torch.utils._pytree.tree_map_only(Tensor, lambda x: cls(x.resolve_conj()), outputs)


class Overriding(Tensor):
    """Uses torch's own __torch_function__, so every function returns the subclass."""


@each_spectrum
@each_dtype
@each_operation
def test_dispatch_subclass(operation: str, dtype: torch.dtype, spectrum: list[float]) -> None:
    case = problem(operation, spectrum, dtype)
    X = Dispatched(case.A.clone()).requires_grad_()
    Dispatched.seen.clear()
    (G,) = torch.autograd.grad(case.f(X), X)
    assert isinstance(G, Dispatched)
    assert relative_error(G.inside, case.gradient()) <= 1e-13
    names = ("eig", "generalized_eig", "polar", "singular", "svd")
    decompositions = tuple(f"spectralgrad.{name}" for name in names)
    assert any(name.startswith(decompositions) for name in Dispatched.seen)
    E = random_hermitian(4, 4, dtype=dtype, seed=2)
    tangent = torch.func.jvp(case.f, (Dispatched(case.A),), (Dispatched(E),))[1]
    assert relative_error(tangent.inside, (case.gradient().conj() * E).sum().real) <= 1e-13


@each_spectrum
@each_dtype
@each_operation
def test_function_subclass(operation: str, dtype: torch.dtype, spectrum: list[float]) -> None:
    case = problem(operation, spectrum, dtype)
    X = case.A.clone().as_subclass(Overriding).requires_grad_()
    y = case.f(X)
    assert type(y) is Overriding
    y.backward()
    assert X.grad is not None
    assert relative_error(X.grad.as_subclass(Tensor), case.gradient()) <= 1e-13
    assert type(sg.eigh(X).eigenvectors) is Overriding


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@each_dtype
@each_operation
def test_no_graph_is_recorded(operation: str, dtype: torch.dtype, mode: Callable[[], Any]) -> None:
    case = problem(operation, SPECTRA["degenerate"], dtype)
    expected = case.f(case.A)
    X = case.A.clone().requires_grad_()
    with mode():
        y = case.f(X)
        # To round-off only, because LAPACK's rounding depends on the alignment of the matrix.
        assert relative_error(torch.func.vmap(case.f)(torch.stack([2 * X, X]))[1], expected) <= 1e-13
        inside = case.f(X + 0)  # in inference mode, of an inference tensor
    assert torch.equal(y, expected)
    assert torch.equal(inside, expected)
    assert not y.requires_grad
    assert y.is_inference() == (mode is torch.inference_mode)
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.backward()


def test_saved_outputs_may_not_be_changed() -> None:
    A = distinct(3, torch.float64, 0).requires_grad_()
    L, V = sg.eigh(A)
    loss = L.sum() + V.square().sum()
    with torch.no_grad():
        V.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# --- rules under torch.compile ---------------------------------------------------------------------------------------


def F(A: Tensor, eigh: Callable[..., Any]) -> float:
    """The factor that the current rule uses for 1/(λ2 - λ1) = 1/1."""
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
