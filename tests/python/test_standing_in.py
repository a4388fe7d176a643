"""stand_in acts in a block of one thread; install acts in the dispatcher, for the whole process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import (
    ALL,
    distinct,
    eps,
    gradient,
    invariant_loss,
    normal,
    projector_loss,
    random_hermitian,
    return_types,
    with_spectrum,
)
from reference import frechet, projector, relative_error


def invariants(L: Tensor, V: Tensor) -> Tensor:
    """Well-posed everywhere. Its gradient is the identity; torch's formula gives NaN at equal eigenvalues."""
    return L.sum() + V.abs().square().sum()


def torchs_gradient(A: Tensor) -> Tensor:
    return gradient(invariants, A, lambda X: torch.linalg.eigh(X))


def is_ours(A: Tensor) -> bool:
    G = torchs_gradient(A)
    assert bool(G.isnan().any()) or torch.equal(G, torch.eye(len(A), dtype=A.dtype))
    return not bool(G.isnan().any())


@pytest.fixture
def uninstalled() -> Iterator[None]:
    yield
    sg.uninstall()


# --- stand_in --------------------------------------------------------------------------------------------------------


def test_stand_in(degenerate: Tensor) -> None:
    assert not is_ours(degenerate)
    with sg.stand_in() as nothing:
        assert nothing is None
        assert is_ours(degenerate)
    assert not is_ours(degenerate)


@pytest.mark.parametrize("dtype", ALL)
def test_stand_in_is_eigh_to_the_bit(dtype: torch.dtype, device: str) -> None:
    A = torch.stack([distinct(4, dtype, seed) for seed in range(2)]).to(device)
    loss = invariant_loss(random_hermitian(4, 4, dtype=dtype, seed=1).to(device))
    expected = gradient(loss, A, UPLO="U")
    with sg.stand_in():
        assert torch.equal(gradient(loss, A, lambda X: torch.linalg.eigh(X, UPLO="U")), expected)
        assert torch.equal(gradient(loss, A, lambda X: torch.linalg.eigh(X, "U")), expected)
        result = torch.linalg.eigh(A)
        assert isinstance(result, return_types.linalg_eigh)
        assert torch.equal(result.eigenvalues, sg.eigh(A).eigenvalues)
        assert torch.equal(torch.linalg.eigvalsh(A, UPLO="U"), sg.eigvalsh(A, "U"))


def test_stand_in_passes_out() -> None:
    A = distinct(3, torch.float64, 0)
    out = torch.empty(3, dtype=A.dtype), torch.empty(3, 3, dtype=A.dtype)
    values = torch.empty(3, dtype=A.dtype)
    with sg.stand_in(sg.Split(0.5)):
        torch.linalg.eigh(A, out=out)
        torch.linalg.eigvalsh(A, out=values)
    assert torch.equal(out[0], sg.eigh(A, rule=sg.Split(0.5)).eigenvalues)
    assert torch.equal(out[1], sg.eigh(A).eigenvectors)
    torch.testing.assert_close(values, out[0], rtol=0, atol=1e-14)


def test_stand_in_with_a_rule_and_nested() -> None:
    A = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))

    def F() -> float:
        X = A.clone().requires_grad_()
        _, V = torch.linalg.eigh(X)
        return float(torch.autograd.grad(V, X, torch.tensor([[0, 2], [0, 0]], dtype=A.dtype))[0][0, 1])

    with sg.stand_in(sg.Lorentzian(1.0)):
        assert F() == 0.5
        with sg.stand_in(sg.Cutoff(2.0)):
            assert F() == 0
        with sg.use_rule(sg.Cutoff(2.0)):
            assert F() == 0.5
        with sg.stand_in(), sg.use_rule(sg.Lorentzian(2.0)):
            assert F() == pytest.approx(0.2)
        assert F() == 0.5


def test_stand_in_ends_with_an_exception(degenerate: Tensor) -> None:
    with pytest.raises(ZeroDivisionError), sg.stand_in():
        raise ZeroDivisionError
    assert not is_ours(degenerate)


def test_stand_in_can_be_entered_again(degenerate: Tensor) -> None:
    again = sg.stand_in()
    for _ in range(2):
        with again, again:
            assert is_ours(degenerate)
        assert not is_ours(degenerate)


def test_stand_in_as_a_decorator(degenerate: Tensor) -> None:
    @sg.stand_in()
    def plain(A: Tensor) -> bool:
        """Its docstring."""
        return is_ours(A)

    @sg.stand_in(rule=sg.Bare())
    def bare(A: Tensor) -> bool:
        return is_ours(A)

    assert plain(degenerate)
    assert not bare(degenerate)
    assert not is_ours(degenerate)
    assert (plain.__name__, plain.__doc__) == ("plain", "Its docstring.")


def test_stand_in_holds_in_one_thread(degenerate: Tensor) -> None:
    seen: list[bool] = []
    with sg.stand_in():
        thread = threading.Thread(target=lambda: seen.append(is_ours(degenerate)))
        thread.start()
        thread.join()
        assert is_ours(degenerate)
    assert seen == [False]


def test_stand_in_leaves_other_functions_alone() -> None:
    A = torch.tensor([[0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    with sg.stand_in():
        torch.testing.assert_close(
            torch.linalg.eigvals(A).real.sort().values, torch.tensor([-(2**0.5), 2**0.5]).double()
        )
        assert torch.equal(torch.linalg.inv(A) @ A, torch.eye(2, dtype=A.dtype))


@pytest.mark.parametrize("rule", ["gated", sg.Gated, 1, lambda: None], ids=["str", "class", "int", "function"])
@pytest.mark.parametrize("f", [sg.stand_in, sg.install])
def test_rule_of_another_type(f: Callable[[Any], Any], rule: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"spectralgrad\.{f.__name__}: Expected rule to be a Rule such as .*, but got "
    ):
        f(rule)
    assert not sg.installed()


# --- svd -------------------------------------------------------------------------------------------------------------


def scripted_svd() -> Callable[[Tensor], Any]:
    def svd(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.linalg.svd(A)

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        return torch.jit.script(svd)


def torch_svd(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    result: Any = torch.svd(A)
    U, S, V = result
    return U, S, V.mH


SVDS: dict[str, Callable[[], Callable[[Tensor], Any]]] = {
    "torch.linalg.svd": lambda: lambda A: torch.linalg.svd(A),
    "torch.svd": lambda: torch_svd,
    "operator": lambda: lambda A: torch.ops.aten.linalg_svd.default(A),
    "inner operator": lambda: lambda A: torch.ops.aten._linalg_svd.default(A, True, True),
    "C++": scripted_svd,
}


@contextlib.contextmanager
def installation() -> Iterator[None]:
    sg.install()
    try:
        yield
    finally:
        sg.uninstall()


@pytest.mark.parametrize("block", [sg.stand_in, installation])
@pytest.mark.parametrize("way", SVDS.values(), ids=SVDS)
@pytest.mark.usefixtures("uninstalled")
def test_every_way_to_svd(way: Callable[[], Callable[[Tensor], Any]], block: Callable[[], Any]) -> None:
    svd = way()
    A = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)  # the polar factor of 2A is A

    def gradient_of_polar() -> Tensor:
        X = (2 * A).requires_grad_()
        U, _, Vh = svd(X)
        return torch.autograd.grad((U @ Vh)[0, 1], X)[0]

    assert gradient_of_polar().isnan().any()
    with block():
        G = gradient_of_polar()
    # The factor turns by (X21 - X12)/4, which does not change its cosine to first order.
    torch.testing.assert_close(G, torch.zeros_like(G), rtol=0, atol=1e-15)
    assert gradient_of_polar().isnan().any()


BUILT_ON_SVD: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "svdvals": (lambda A: torch.linalg.svdvals(A).square().sum(), 2 * torch.eye(3, dtype=torch.float64)),
    "nuclear norm": (lambda A: torch.linalg.matrix_norm(A, "nuc"), torch.eye(3, dtype=torch.float64)),
    "pinv": (lambda A: torch.linalg.pinv(A).sum(), -torch.ones(3, 3, dtype=torch.float64)),
}


@pytest.mark.parametrize("block", [sg.stand_in, installation])
@pytest.mark.parametrize("name", BUILT_ON_SVD)
@pytest.mark.usefixtures("uninstalled")
def test_functions_built_on_svd(name: str, block: Callable[[], Any]) -> None:
    """At the identity, whose singular values are equal."""
    function, expected = BUILT_ON_SVD[name]
    A = torch.eye(3, dtype=torch.float64).requires_grad_()
    plain = function(A)
    with block():
        value = function(A)
        assert torch.equal(value, plain)
        torch.testing.assert_close(torch.autograd.grad(value, A)[0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("full_matrices", [True, False])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.usefixtures("uninstalled")
def test_installed_svd_has_the_values_of_torch(dtype: torch.dtype, full_matrices: bool) -> None:
    A = normal(2, 4, 3, dtype=dtype, seed=1)
    expected = torch.linalg.svd(A, full_matrices=full_matrices)
    sg.install()
    for X in (A, A.clone().requires_grad_()):
        for x, y in zip(torch.linalg.svd(X, full_matrices=full_matrices), expected, strict=True):
            assert torch.equal(x, y)


# --- eig -------------------------------------------------------------------------------------------------------------


def scripted_eigvals() -> Callable[[Tensor], Tensor]:
    def eigvals(A: Tensor) -> Tensor:
        return torch.linalg.eigvals(A)

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        return torch.jit.script(eigvals)


EIGS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "torch.linalg.eig": lambda: lambda A: torch.linalg.eig(A)[0],
    "torch.linalg.eigvals": lambda: torch.linalg.eigvals,
    "operator": lambda: lambda A: torch.ops.aten.linalg_eig.default(A)[0],
    "C++": scripted_eigvals,
}


@pytest.mark.parametrize("block", [sg.stand_in, installation])
@pytest.mark.parametrize("way", EIGS.values(), ids=EIGS)
@pytest.mark.usefixtures("uninstalled")
def test_every_way_to_eig(way: Callable[[], Callable[[Tensor], Tensor]], block: Callable[[], Any]) -> None:
    """The sum of the eigenvalues of a Jordan block, whose eigenvectors torch cannot differentiate."""
    eigvals = way()
    block_of_three = torch.diag(torch.ones(3)) + torch.diag(torch.ones(2), 1)
    X = torch.eye(4) + torch.diag(torch.tensor([0.5, 0.25, 0.125]), -1)
    J = torch.block_diag(block_of_three, torch.tensor([[3.0]]))
    A = (X @ J @ torch.linalg.inv(X)).double()
    # The projector onto the eigenvalue 3, which is the other one.
    P = torch.linalg.matrix_power(A - torch.eye(4), 3)
    expected = torch.eye(4, dtype=torch.float64) - (P / P.trace()).mT

    def error() -> float:
        Y = A.clone().requires_grad_()
        L = eigvals(Y)
        (G,) = torch.autograd.grad(torch.where((L - 1).abs() < 1, L, 0).sum().real, Y)
        return float((G - expected).abs().max())

    assert error() > 1e-9
    with block():
        assert error() < 1e-13
    assert error() > 1e-9


# --- install ---------------------------------------------------------------------------------------------------------


def through_script() -> Callable[[Tensor], Any]:
    """TorchScript calls torch's C++ from C++: no Python mode sees it."""

    def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigh(A)

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        return torch.jit.script(eigh)


WAYS: dict[str, Callable[[], Callable[[Tensor], Any]]] = {
    "torch.linalg.eigh": lambda: lambda A: torch.linalg.eigh(A),
    "operator": lambda: lambda A: torch.ops.aten.linalg_eigh.default(A),
    "inner operator": lambda: lambda A: torch.ops.aten._linalg_eigh.default(A, "L", True),
    "C++": through_script,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.usefixtures("uninstalled")
def test_install_reaches_every_way_to_eigh(way: Callable[[], Callable[[Tensor], Any]], degenerate: Tensor) -> None:
    eigh = way()
    with sg.stand_in():
        assert torch.equal(gradient(invariants, degenerate, eigh), torch.eye(4, dtype=torch.float64))
    for _ in range(2):
        assert not sg.installed()
        assert bool(gradient(invariants, degenerate, eigh).isnan().all())
        sg.install()
        assert sg.installed()
        assert torch.equal(gradient(invariants, degenerate, eigh), torch.eye(4, dtype=torch.float64))
        sg.uninstall()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.usefixtures("uninstalled")
def test_installed_gradients_are_right(dtype: torch.dtype, device: str) -> None:
    A = with_spectrum([-1, 1, 1, 1, 4], dtype, 0)
    M = random_hermitian(5, 5, dtype=dtype, seed=1)
    sg.install()
    G = gradient(projector_loss(M.to(device), slice(1, 4)), A.to(device), torch.linalg.eigh)
    assert relative_error(G, frechet(A, M, projector(1, 4))) <= (1e-13 if eps(dtype) < 1e-10 else 1e-5)
    X = A.to(device).requires_grad_()
    (G,) = torch.autograd.grad(torch.linalg.eigvalsh(X).sum(), X)
    torch.testing.assert_close(G, torch.eye(5, dtype=dtype, device=device), rtol=0, atol=10 * eps(dtype))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.usefixtures("uninstalled")
def test_install_leaves_values_and_errors_to_torch(dtype: torch.dtype, device: str) -> None:
    A = torch.stack([distinct(5, dtype, seed) for seed in range(3)]).to(device)
    before = [*torch.linalg.eigh(A), torch.linalg.eigvalsh(A), torch.linalg.pinv(A, hermitian=True)]
    sg.install(sg.Split(0.5))
    after = [*torch.linalg.eigh(A), torch.linalg.eigvalsh(A), torch.linalg.pinv(A, hermitian=True)]
    out = torch.empty(0, dtype=dtype.to_real(), device=device), torch.empty(0, dtype=dtype, device=device)
    torch.linalg.eigh(A, out=out)
    for x, y in zip([*after, *out], [*before, *before[:2]], strict=True):
        assert torch.equal(x, y)
    with pytest.raises(RuntimeError, match=r"linalg\.eigh: A must be batches of square matrices"):
        torch.linalg.eigh(torch.ones(2, 3))


@pytest.mark.usefixtures("uninstalled")
def test_uninstall_gives_torch_back_to_the_bit(degenerate: Tensor) -> None:
    loss = invariant_loss(random_hermitian(4, 4, dtype=torch.float64, seed=1))
    A = distinct(4, torch.float64, 0)

    def probes() -> list[Tensor]:
        X = A.clone().requires_grad_()
        tangent = torch.func.jvp(lambda Y: torch.linalg.eigh(Y).eigenvectors, (A,), (torch.eye(4).double(),))[1]
        return [gradient(loss, A, torch.linalg.eigh), torchs_gradient(degenerate), torch.linalg.eigvalsh(X), tangent]

    before = probes()
    sg.install()
    sg.uninstall()
    for x, y in zip(probes(), before, strict=True):
        assert torch.equal(x.nan_to_num(7), y.nan_to_num(7))
        assert torch.equal(x.isnan(), y.isnan())
    assert before[1].isnan().all()
    assert type(torch.linalg.eigh(A.requires_grad_()).eigenvalues.grad_fn).__name__ == "LinalgEighBackward0"


@pytest.mark.usefixtures("uninstalled")
def test_install_and_uninstall_twice_are_harmless(degenerate: Tensor) -> None:
    sg.uninstall()
    sg.uninstall()
    assert not sg.installed()
    sg.install()
    sg.install()
    assert sg.installed()
    assert is_ours(degenerate)
    sg.uninstall()
    assert not sg.installed()
    assert not is_ours(degenerate)


@pytest.mark.usefixtures("uninstalled")
def test_install_with_a_rule(degenerate: Tensor) -> None:
    sg.install(sg.Bare())
    assert not is_ours(degenerate)
    sg.install()
    assert is_ours(degenerate)
    with sg.use_rule(sg.Bare()):
        assert not is_ours(degenerate)
    sg.install(sg.Split(0.5))
    # The width is 0.5 max|λ| = 1, so the four eigenvalues 1, 1, 2, 2 form one pool around 1.5.
    with pytest.warns(sg.GaugeWarning, match="Split"):  # the lowest becomes 0
        moved = torch.linalg.eigvalsh(degenerate.clone().requires_grad_())
    torch.testing.assert_close(moved.detach(), torch.tensor([0.0, 1, 2, 3], dtype=torch.float64), rtol=0, atol=1e-14)
    assert torch.equal(torch.linalg.eigvalsh(degenerate), torch.tensor([1.0, 1, 2, 2], dtype=torch.float64))


@pytest.mark.usefixtures("uninstalled")
def test_install_holds_in_every_thread(degenerate: Tensor) -> None:
    seen: list[bool] = []
    sg.install()
    thread = threading.Thread(target=lambda: seen.append(is_ours(degenerate)))
    thread.start()
    thread.join()
    assert seen == [True]


def test_install_reaches_compiled_code(degenerate: Tensor, uninstalled: None) -> None:
    """Also if the process has compiled eigh before. Code that is already compiled keeps its formula."""

    def compiled() -> Tensor:
        torch._dynamo.reset()
        return gradient(invariants, degenerate, torch.compile(torch.linalg.eigh, backend="aot_eager", fullgraph=True))

    try:
        assert bool(compiled().isnan().all())
        sg.install()
        assert torch.equal(compiled(), torch.eye(4, dtype=torch.float64))
        sg.uninstall()
        assert bool(compiled().isnan().all())
    finally:
        torch._dynamo.reset()


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "grad": lambda f, A: torch.func.grad(f)(A),
    "jacrev": lambda f, A: torch.func.jacrev(f)(A),
    "jacfwd": lambda f, A: torch.func.jacfwd(f)(A),
    "vmap of grad": lambda f, A: torch.func.vmap(torch.func.grad(f))(A.expand(2, *A.shape))[1],
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("how", ["stand_in", "install"])
@pytest.mark.usefixtures("uninstalled")
def test_standing_in_under_transforms(how: str, transform: Callable[..., Tensor], degenerate: Tensor) -> None:
    M = random_hermitian(4, 4, dtype=torch.float64, seed=1)

    def f(A: Tensor) -> Tensor:
        return projector_loss(M, slice(0, 2))(*torch.linalg.eigh(A))

    expected = frechet(degenerate, M, projector(0, 2))
    if how == "install":
        sg.install()
        G = transform(f, degenerate)
    else:
        with sg.stand_in():
            G = transform(f, degenerate)
    assert relative_error((G + G.mT) / 2, expected) <= 1e-13


def test_installing_while_other_threads_decompose(degenerate: Tensor, uninstalled: None) -> None:
    """Every gradient is either ours or torch's, while another thread installs and uninstalls."""
    sg.install()
    stop = threading.Event()
    strange: list[Tensor] = []

    def decompose() -> None:
        while not stop.is_set():
            A = degenerate.clone().requires_grad_()
            L, V = torch.linalg.eigh(A)
            (gradient,) = torch.autograd.grad(L.sum() + V.square().sum(), A)
            if not (gradient.isnan().all() or torch.allclose(gradient, torch.eye(len(A), dtype=A.dtype))):
                strange.append(gradient)

    threads = [threading.Thread(target=decompose) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        sg.uninstall()
        sg.install()
    stop.set()
    for thread in threads:
        thread.join()
    assert not strange


def test_install_survives_a_fork(degenerate: Tensor, uninstalled: None) -> None:
    """A child process inherits the installation. Its own uninstall does not affect the parent."""
    sg.install()
    child = os.fork()
    if child == 0:
        right = is_ours(degenerate)
        sg.uninstall()
        os._exit(0 if right and not is_ours(degenerate) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_ours(degenerate)
