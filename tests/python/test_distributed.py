"""DTensor, DDP and FSDP, on processes that talk through gloo; this file is also the program that they run."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import spectralgrad as sg
from forked import Interpreter
from operator_cases import OPERATORS, Batch
from problems import DOUBLE, LinAlgError, distinct, normal, random_hermitian, with_spectrum
from reference import relative_error
from spectralgrad import _operators, distributed
from spectralgrad._operators import handle

if not torch.distributed.is_available():
    pytest.skip("this torch is built without torch.distributed", allow_module_level=True)

pytestmark = pytest.mark.slow  # it starts processes that import torch

SPECTRUM = [1.0, 1.0, 2.0, 2.0]
EXAMPLE = Path(__file__).parents[2] / "examples/distributed_batch.py"

Case = Callable[[Any], None]
CASES: dict[int, dict[str, Case]] = {2: {}, 3: {}}  # by the number of processes


def case(processes: int = 2) -> Callable[[Case], Case]:
    """Registers `function(mesh)` to run in every process. The test of its name fails if it raises in any of them."""

    def add(function: Case) -> Case:
        CASES[processes][function.__name__] = function
        return function

    return add


# After which a process is killed.
SECONDS = 300

# --- cases that the processes run ------------------------------------------------------------------------------------


def batch(*shape: int, dtype: torch.dtype) -> Tensor:
    """Matrices with the eigenvalues `SPECTRUM`, each with eigenvectors of its own; the first is diagonal."""
    count = torch.Size(shape).numel()
    matrices = torch.stack([with_spectrum(SPECTRUM, dtype, seed) for seed in range(count)])
    matrices[0] = torch.diag(torch.tensor(SPECTRUM, dtype=dtype))
    return matrices.reshape(*shape, 4, 4)


def projector_loss(M: Tensor) -> Callable[[Tensor], Tensor]:
    def loss(A: Tensor) -> Tensor:
        V = sg.eigh(A).eigenvectors[..., :2]
        # Not V @ V.mH: DTensor cannot multiply matrices with two batch dimensions if one of them is sharded unevenly.
        P = (V.unsqueeze(-2) * V.conj().unsqueeze(-3)).sum(-1)
        return (M.mT * P).real.sum()

    return loss


def projector_gradient(A: Tensor, M: Tensor) -> Tensor:
    """In closed form: with the spectrum {1, 2}, the projector onto the eigenvalue 1 is P = 2 - A."""
    P = 2 * torch.eye(4, dtype=A.dtype) - A
    Q = torch.eye(4, dtype=A.dtype) - P
    return -(P @ M @ Q + Q @ M @ P)


def gradient(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    A = A.detach().clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(A), A)
    return G


def whole(x: Any) -> Tensor:
    full: Tensor = x.full_tensor()
    return full


def communications(mesh: Any, function: Callable[[], Any]) -> tuple[Any, int]:
    from torch.distributed.tensor.debug import CommDebugMode

    with CommDebugMode() as mode:
        result = function()
    return result, mode.get_total_counts()


def check_eigh(mesh: Any, A: Tensor, placements: list[Any], expected: list[Any]) -> None:
    """Values bit for bit and gradients to rounding, of eigh and eigvalsh, against one process and closed forms."""
    from torch.distributed.tensor import Replicate, distribute_tensor

    M = random_hermitian(4, 4, dtype=A.dtype, seed=100)
    D = distribute_tensor(A, mesh, placements)
    everywhere = distribute_tensor(M, mesh, [Replicate()] * mesh.ndim)

    (L, V), sent = communications(mesh, lambda: sg.eigh(D))
    assert (list(L.placements), list(V.placements)) == (expected, expected)
    assert (sent > 0) == (expected != placements)
    assert (L.shape, V.shape, V.dtype) == (A.shape[:-1], A.shape, A.dtype)
    reference = sg.eigh(A)
    assert torch.equal(whole(L), reference.eigenvalues)
    assert torch.equal(whole(V), reference.eigenvectors)
    assert torch.equal(whole(sg.eigvalsh(D)), sg.eigvalsh(A))

    G: Any = gradient(projector_loss(everywhere), D)
    assert list(G.placements) == expected
    torch.testing.assert_close(whole(G), gradient(projector_loss(M), A), rtol=0, atol=1e-15)
    torch.testing.assert_close(whole(G), projector_gradient(A, M), rtol=0, atol=2e-14)

    # tr A³ through the eigenvalues alone
    G = gradient(lambda X: sg.eigvalsh(X).pow(3).sum(), D)
    torch.testing.assert_close(whole(G), 3 * A @ A, rtol=0, atol=1e-13)


def check_placements(mesh: Any, shape: tuple[int, ...], placements: list[Any], expected: list[Any]) -> None:
    for dtype in DOUBLE:
        check_eigh(mesh, batch(*shape, dtype=dtype), placements, expected)


def shard(*dims: int) -> list[Any]:
    from torch.distributed.tensor import Shard

    return [Shard(dim) for dim in dims]


def replicate() -> list[Any]:
    from torch.distributed.tensor import Replicate

    return [Replicate()]


@case()
def batch_sharded_evenly(mesh: Any) -> None:
    check_placements(mesh, (4,), shard(0), shard(0))


@case()
def batch_sharded_unevenly(mesh: Any) -> None:
    check_placements(mesh, (3,), shard(0), shard(0))


@case(processes=3)
def shard_without_matrices(mesh: Any) -> None:
    # DTensor cuts 4 into 2, 2 and 0.
    assert len(sharded(batch(4, dtype=torch.float64), mesh).to_local()) == (0 if mesh.get_rank() == 2 else 2)
    check_placements(mesh, (4,), shard(0), shard(0))


@case()
def fewer_matrices_than_processes(mesh: Any) -> None:
    # DTensor does not regard such a batch as shardable, so every process gets the one matrix.
    check_placements(mesh, (1,), shard(0), replicate())


@case()
def two_batch_dimensions(mesh: Any) -> None:
    check_placements(mesh, (3, 2), shard(0), shard(0))
    check_placements(mesh, (2, 3), shard(1), shard(1))


@case()
def two_mesh_dimensions(mesh: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh

    square = init_device_mesh("cpu", (2, 1))
    check_placements(square, (2, 3), shard(0, 1), shard(0, 1))
    check_placements(square, (4,), shard(0, 0), shard(0, 0))


@case()
def replicated(mesh: Any) -> None:
    check_placements(mesh, (3,), replicate(), replicate())
    check_placements(mesh, (), replicate(), replicate())


@case()
def matrix_dimensions_are_gathered(mesh: Any) -> None:
    for dim in (0, 1):
        check_placements(mesh, (), shard(dim), replicate())
        D = sharded(torch.eye(4), mesh, dim)
        assert list(torch.linalg.eigh(D).eigenvalues.placements) == replicate()  # as torch does
    for dim in (1, 2):
        check_placements(mesh, (3,), shard(dim), replicate())


@case()
def partial_sums_are_reduced(mesh: Any) -> None:
    from torch.distributed.tensor import DTensor, Partial

    for dtype in DOUBLE:
        A, M = batch(4, dtype=dtype), random_hermitian(4, 4, dtype=dtype, seed=100)
        # Neither summand has the eigenvalues of the sum.
        part = A * (0.25, 0.75)[mesh.get_rank()]
        X = part.clone().requires_grad_()
        L, V = sg.eigh(DTensor.from_local(X, mesh, [Partial()]))
        torch.testing.assert_close(whole(L), torch.tensor(SPECTRUM, dtype=L.dtype).expand(4, 4), rtol=0, atol=1e-14)
        P = V[..., :2] @ V[..., :2].mH
        (sharded(M.mT, mesh, None) * P).real.sum().full_tensor().backward()
        assert X.grad is not None
        torch.testing.assert_close(X.grad, projector_gradient(A, M), rtol=0, atol=2e-14)


def sharded(A: Tensor, mesh: Any, dim: int | None = 0) -> Any:
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(A, mesh, replicate() if dim is None else shard(dim))


@case()
def singular_values(mesh: Any) -> None:
    """At A = 2 Q the nearest unitary matrix U Vᴴ = Q has the gradient (M - Q Mᴴ Q)/4."""
    for dtype in DOUBLE:
        Q = torch.linalg.qr(normal(3, 4, 4, dtype=dtype, seed=8)).Q
        M = normal(4, 4, dtype=dtype, seed=9)
        tall = normal(4, 5, 3, dtype=dtype, seed=10)
        everywhere = sharded(M, mesh, None)

        def loss(X: Any, M: Any) -> Tensor:
            U, _, Vh = sg.svd(X)
            return (M.conj() * (U.unsqueeze(-1) * Vh.unsqueeze(-3)).sum(-2)).real.sum()

        for dim, expected in ((0, shard(0)), (1, replicate()), (2, replicate())):
            D = sharded(2 * Q, mesh, dim)
            G: Any = gradient(functools.partial(loss, M=everywhere), D)
            assert list(G.placements) == expected
            torch.testing.assert_close(whole(G), (M - Q @ M.mH @ Q) / 4, rtol=0, atol=2e-14)
            for full_matrices in (False, True):
                D = sharded(tall, mesh, dim)
                factors, sent = communications(mesh, functools.partial(sg.svd, D, full_matrices))
                assert (sent > 0) == (dim != 0)
                plain = sg.svd(tall, full_matrices)
                assert all(list(x.placements) == expected for x in factors)
                assert all(torch.equal(whole(x), y) for x, y in zip(factors, plain, strict=True))
            assert torch.equal(whole(sg.svdvals(sharded(tall, mesh, dim))), sg.svdvals(tall))
            G = gradient(lambda X: sg.svdvals(X).square().sum(), sharded(tall, mesh, dim))
            torch.testing.assert_close(whole(G), 2 * tall, rtol=0, atol=2e-14)


@case()
def truncated_singular_values(mesh: Any) -> None:
    """One rank for all shards: the multiplet of the last matrix makes it 3 everywhere."""
    factors = [torch.linalg.qr(normal(4, 4, 4, dtype=torch.float64, seed=seed)).Q for seed in (8, 9)]
    spectra = torch.tensor([[4.0, 3.0, 2.0, 1.0]] * 3 + [[4.0, 3.0, 3.0, 1.0]], dtype=torch.float64)
    A = factors[0] * spectra.unsqueeze(-2) @ factors[1]
    M = normal(4, 4, dtype=torch.float64, seed=9)
    everywhere = sharded(M, mesh, None)

    def loss(X: Any, M: Any, **options: Any) -> Tensor:
        U, S, Vh = sg.svd_truncated(X, **options)
        return (M * (U.unsqueeze(-1) * S[..., None, :, None] * Vh.unsqueeze(-3)).sum(-2)).sum()

    calls: list[tuple[dict[str, Any], int]] = [
        ({"rank": 2}, 3),
        ({"rank": 2, "keep_multiplets": False}, 2),
        ({"rank": 3, "keep_multiplets": False}, 3),
        ({"rtol": 0.6}, 3),
        ({"rtol": 0.6, "rank": 1}, 1),
    ]
    for dim, expected in ((0, shard(0)), (1, replicate())):
        for options, kept in calls:
            D = sharded(A, mesh, dim)
            results: Any = sg.svd_truncated(D, **options)
            assert results.S.shape == (4, kept)
            assert all(list(x.placements) == expected for x in results)
            for ours, plain in zip(results, sg.svd_truncated(A, **options), strict=True):
                assert torch.equal(whole(ours), plain)
            with sg.checks("ignore"):
                G: Any = gradient(functools.partial(loss, M=everywhere, **options), D)
                plain = gradient(functools.partial(loss, M=M, **options), A)
            assert list(G.placements) == expected
            torch.testing.assert_close(whole(G), plain, rtol=0, atol=1e-14)


@case()
def parts_of_the_spectrum(mesh: Any) -> None:
    """With and without B, and the gauges that do not depend on the basis."""
    A = torch.stack([distinct(4, torch.float64, seed) for seed in range(4)])
    B = torch.diag(torch.tensor([1.0, 2.0, 1.5, 3.0], dtype=torch.float64)).expand(4, 4, 4).contiguous()

    def loss(X: Any, Z: Any) -> Tensor:
        L, V = sg.eigh_subset(X, 1, 3, B=Z)
        return L.sin().sum() + V.abs().square().square().sum()

    def loss_in_gauge(X: Any) -> Tensor:
        return sg.canonical_gauge(*sg.eigh(X)).pow(3).sum()

    for dim, expected in ((0, shard(0)), (1, replicate())):
        D = sharded(A, mesh, dim)
        for other, plain_other in ((None, None), (sharded(B, mesh, dim), B)):
            results: Any = sg.eigh_subset(D, 1, 3, B=other)
            assert all(list(x.placements) == expected for x in results)
            for ours, plain in zip(results, sg.eigh_subset(A, 1, 3, B=plain_other), strict=True):
                torch.testing.assert_close(whole(ours), plain, rtol=0, atol=1e-13)
            G: Any = gradient(functools.partial(loss, Z=other), D)
            torch.testing.assert_close(
                whole(G), gradient(functools.partial(loss, Z=plain_other), A), rtol=0, atol=1e-13
            )
        G = gradient(loss_in_gauge, D)
        assert list(G.placements) == expected
        torch.testing.assert_close(whole(G), gradient(loss_in_gauge, A), rtol=0, atol=1e-13)


@case()
def generalized_problems(mesh: Any) -> None:
    """Each type, with derivatives in A and B."""
    A = torch.stack([distinct(4, torch.float64, seed) for seed in range(4)])
    B = torch.eye(4, dtype=torch.float64) + A @ A.mT / 10

    def loss(X: Any, Z: Any, itype: int) -> Tensor:
        L, V = sg.generalized_eigh(X, Z, itype=itype)
        return L.sin().sum() + V.abs().square().square().sum()

    for dim, expected in ((0, shard(0)), (1, replicate())):
        for itype in (1, 2, 3):
            L: Any = sg.generalized_eigh(sharded(A, mesh, dim), sharded(B, mesh, dim), itype=itype).eigenvalues
            assert list(L.placements) == expected
            for name in "AB":

                def of(X: Any, A: Any, B: Any, name: str = name, itype: int = itype) -> Tensor:
                    return loss(X, B, itype) if name == "A" else loss(A, X, itype)

                plain = gradient(functools.partial(of, A=A, B=B), A if name == "A" else B)
                there = functools.partial(of, A=sharded(A, mesh, dim), B=sharded(B, mesh, dim))
                G: Any = gradient(there, sharded(A if name == "A" else B, mesh, dim))
                torch.testing.assert_close(whole(G), plain, rtol=0, atol=1e-12)


@case()
def polar_factors_and_rotations(mesh: Any) -> None:
    """At A = 2 Q the polar factor U = Q has the gradient (M - Q Mᴴ Q)/4. An octahedron has equal singular values."""

    def nearest(X: Any, M: Any, A: Any = None) -> Tensor:
        U = sg.polar(X).U if A is None else sg.orthogonal_procrustes(A, X).R
        return (M.conj() * U).real.sum()

    for dtype in DOUBLE:
        Q = torch.linalg.qr(normal(3, 4, 4, dtype=dtype, seed=8)).Q
        M = normal(4, 4, dtype=dtype, seed=9)
        everywhere, eye = sharded(M, mesh, None), sharded(torch.eye(4, dtype=dtype).repeat(3, 1, 1), mesh)
        for A, dim, expected in ((None, 0, shard(0)), (None, 1, replicate()), (eye, 0, shard(0))):
            G: Any = gradient(functools.partial(nearest, M=everywhere, A=A), sharded(2 * Q, mesh, dim))
            assert list(G.placements) == expected
            torch.testing.assert_close(whole(G), (M - Q @ M.mH @ Q) / 4, rtol=0, atol=2e-14)
    corners = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    turns = torch.linalg.qr(normal(4, 3, 3, dtype=torch.float64, seed=3)).Q
    target, weights = corners @ (turns * torch.linalg.det(turns)[:, None, None]).mT + 1, torch.ones(4, 6).double()
    source = corners.repeat(4, 1, 1)
    M = normal(3, 3, dtype=torch.float64, seed=9)

    def loss(x: Any, y: Any, w: Any, M: Any) -> Tensor:
        R, t, scale = sg.rigid_alignment(x, y, weights=w, scale=True)
        return (M * R).sum() + t.square().sum() + scale.sum()

    expected_gradient = gradient(lambda x: loss(x, target, weights, M), source)
    y, w, everywhere = sharded(target, mesh), sharded(weights, mesh), sharded(M, mesh, None)
    G = gradient(lambda x: loss(x, y, w, everywhere), sharded(source, mesh))
    assert list(G.placements) == shard(0)
    torch.testing.assert_close(whole(G), expected_gradient, rtol=0, atol=1e-13)


@case()
def arguments_are_those_of_the_call(mesh: Any) -> None:
    # DTensor caches shardings by the tensors alone, so the triangle and the rule must not be cached with them.
    A = normal(4, 4, 4, dtype=torch.float64, seed=7)
    D = sharded(A, mesh)
    for UPLO in ("L", "U", "L"):
        assert torch.equal(whole(sg.eigh(D, UPLO).eigenvalues), sg.eigh(A, UPLO).eigenvalues)
    A = batch(4, dtype=torch.float64)
    D = sharded(A, mesh, 1)  # it is gathered, and then DTensor rewrites the arguments
    for rule in (sg.Split(), sg.Gated(), sg.Split(1e-3), None):
        assert torch.equal(whole(sg.eigh(D, rule=rule).eigenvalues), sg.eigh(A, rule=rule).eigenvalues)
    with sg.use_rule(sg.Split(1e-3)):
        assert torch.equal(whole(sg.eigvalsh(D)), sg.eigvalsh(A))


@case()
def function_of_a_matrix_split(mesh: Any) -> None:
    # exp(A) from eigh at 2 I: only Split finds the limit inside the eigenspace. The gradient of tr(M exp A) is e² M.
    A = 2 * torch.eye(3, dtype=torch.float64).expand(3, 3, 3).contiguous()
    M = random_hermitian(3, 3, dtype=torch.float64, seed=3)
    everywhere = sharded(M, mesh, None)

    def loss(X: Tensor) -> Tensor:
        L, V = torch.linalg.eigh(X)
        return (everywhere * ((V * L.exp().unsqueeze(-2)) @ V.mT)).sum()

    with sg.stand_in(rule=sg.Split()):
        G: Any = gradient(loss, sharded(A, mesh))
    assert list(G.placements) == shard(0)
    torch.testing.assert_close(whole(G), (torch.tensor(2.0).double().exp() * M).expand(3, 3, 3), rtol=0, atol=1e-6)


@case()
def installed(mesh: Any) -> None:
    A, M = batch(4, dtype=torch.float64), random_hermitian(4, 4, dtype=torch.float64, seed=100)
    everywhere = sharded(M, mesh, None)

    def loss(X: Tensor) -> Tensor:
        V = torch.linalg.eigh(X).eigenvectors[..., :2]
        return (everywhere * (V @ V.mT)).sum()

    assert whole(gradient(loss, sharded(A, mesh))).isnan().any()
    sg.install()
    try:
        G = gradient(loss, sharded(A, mesh))
    finally:
        sg.uninstall()
    torch.testing.assert_close(whole(G), projector_gradient(A, M), rtol=0, atol=2e-14)


@case()
def gauge_dependent_losses_are_reported(mesh: Any) -> None:
    A = random_hermitian(4, 3, 3, dtype=torch.complex128, seed=5)
    D = sharded(A, mesh).requires_grad_()
    with pytest.raises(sg.GaugeError, match="up to multiplication by e"):
        sg.eigh(D).eigenvectors.real.sum().backward()


@case()
def bad_arguments_raise(mesh: Any) -> None:
    D = sharded(torch.eye(3).expand(4, 3, 3).contiguous(), mesh)
    for _ in range(2):  # the second time, DTensor uses its cache
        with pytest.raises(RuntimeError, match="Expected UPLO argument to be 'L' or 'U', but got X"):
            sg.eigh(D, "X")
        with pytest.raises(RuntimeError, match="must be batches of square matrices"):
            sg.eigh(sharded(torch.ones(4, 3, 2), mesh))
    poisoned = torch.eye(3).repeat(4, 1, 1)
    poisoned[::2, 1, 1] = torch.nan  # one in each shard
    with pytest.raises(LinAlgError, match=r"\(Batch element 0\).*\(1, 1\)"):
        sg.eigh(sharded(poisoned, mesh))


def check_operator(mesh: Any, name: str, arguments: tuple[Any, ...]) -> None:
    operator = handle(name)
    expected = operator(*arguments)
    given = [sharded(x, mesh) if isinstance(x, Tensor) else x for x in arguments]
    got, sent = communications(mesh, lambda: operator(*given))
    for ours, theirs in zip(got, expected) if isinstance(expected, tuple) else [(got, expected)]:
        if _operators.OPERATORS[name].trailing is None:
            # DTensor may gather the batch for torch's operators inside of a composition.
            torch.testing.assert_close(whole(ours), theirs, rtol=1e-13, atol=1e-13, msg=lambda x: f"{name}: {x}")
            continue
        assert sent == 0, name
        assert list(ours.placements) == shard(0), name
        if name == "eig_jvp":
            # torch's LU decomposition, whose round-off depends on where a matrix lies in memory.
            torch.testing.assert_close(whole(ours), theirs, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(whole(ours), theirs), name


@case()
def every_operator(mesh: Any) -> None:
    for name, call in OPERATORS.items():
        if name in ("cluster_rounds", "truncation_rank"):
            continue
        for without in ((), *call.without):
            with sg.checks("ignore"):  # random cotangents depend on phases
                check_operator(mesh, name, call(Batch(torch.complex128, 4), without))
    # The result is for the whole batch, because all shards must call the user's function equally often.
    L = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 3.0], [1.0, 2.0, 3.0]])
    assert int(torch.ops.spectralgrad.cluster_rounds(sharded(L, mesh)).full_tensor()) == 1
    S = L.flip(-1)  # as singular values
    arguments = (sharded(S, mesh), 2, None, None, True, 3)
    assert int(torch.ops.spectralgrad.truncation_rank(*arguments).full_tensor()) == 3


@case()
def functions_of_a_matrix(mesh: Any) -> None:
    A = torch.stack([random_hermitian(3, 3, dtype=torch.float64, seed=k) for k in range(3)] + [torch.eye(3).double()])
    functions: list[Callable[[Tensor], Tensor]] = [
        sg.expm,
        lambda X: sg.funm(X, torch.tanh),
        lambda X: sg.trace_funm(X, torch.sin),
        lambda X: sg.density_matrix(X, mu=0.3, kT=0.2),
        lambda X: sg.spectral_map(lambda L, V: (V * L.exp().unsqueeze(-2)) @ V.mT, X),
    ]
    for f in functions:
        X, D = A.clone().requires_grad_(), sharded(A, mesh).requires_grad_()
        f(X).square().sum().backward()
        f(D).square().sum().backward()
        assert X.grad is not None
        assert relative_error(whole(D.grad), X.grad) <= 1e-13


class Whitening(nn.Module):
    """Applies the projector onto the lowest eigenvectors of a symmetric matrix, which is a parameter, to the data.

    The matrix starts with the eigenvalues 1, 1, 2, 2, where torch's gradient is wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4, bias=False, dtype=torch.float64)
        self.matrix = nn.Parameter(batch(2, dtype=torch.float64)[1])

    def forward(self, x: Tensor) -> Tensor:
        V = sg.eigh((self.matrix + self.matrix.mT) / 2).eigenvectors[:, :2]
        projected: Tensor = self.encoder(x) @ (V @ V.mT)
        return projected


def expected_gradients(data: Tensor) -> dict[str, Tensor]:
    """The gradients of the mean over all of `data`, in one process. A closed form checks that of the matrix."""
    torch.manual_seed(1)
    module = Whitening()
    module(data).pow(2).sum(-1).mean().backward()
    y = module.encoder(data).detach()  # the loss is tr(P YᵀY) / count
    M = y.mT @ y / len(data)
    assert module.matrix.grad is not None
    torch.testing.assert_close(module.matrix.grad, projector_gradient(module.matrix.detach(), M), rtol=0, atol=1e-13)
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def check_trained_in_parallel(mesh: Any, wrap: Callable[[nn.Module], Any]) -> None:
    data = normal(6, 4, dtype=torch.float64, seed=11)
    expected = expected_gradients(data)
    torch.manual_seed(1)
    module = Whitening()
    names = [name for name, _ in module.named_parameters()]
    wrapped = wrap(module)
    wrapped(data.chunk(2)[mesh.get_rank()]).pow(2).sum(-1).mean().backward()
    for name, parameter in zip(names, wrapped.parameters(), strict=True):
        got: Any = parameter.grad
        got = got.full_tensor() if hasattr(got, "full_tensor") else got
        torch.testing.assert_close(got, expected[name], rtol=0, atol=1e-14)


@case()
def distributed_data_parallel(mesh: Any) -> None:
    check_trained_in_parallel(mesh, nn.parallel.DistributedDataParallel)


@case()
def fully_sharded_data_parallel(mesh: Any) -> None:
    from torch.distributed.fsdp import fully_shard

    check_trained_in_parallel(mesh, lambda module: fully_shard(module, mesh=mesh))


@case()
def tensor_parallel_module(mesh: Any) -> None:
    # Parameters that are DTensors, one matrix per process, as distribute_module makes them.
    from torch.distributed.tensor import distribute_module

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrices = nn.Parameter(batch(2, dtype=torch.float64))

        def forward(self) -> Tensor:
            V = sg.eigh(self.matrices).eigenvectors[..., :2]
            return V @ V.mT

    def shard_parameters(name: str, module: nn.Module, mesh: Any) -> None:
        for key, parameter in module.named_parameters(recurse=False):
            module.register_parameter(key, nn.Parameter(sharded(parameter.detach(), mesh)))

    M = random_hermitian(4, 4, dtype=torch.float64, seed=100)
    module = distribute_module(Heads(), mesh, shard_parameters)
    (sharded(M, mesh, None) * module()).sum().backward()
    G: Any = module.matrices.grad
    assert list(G.placements) == shard(0)
    torch.testing.assert_close(whole(G), projector_gradient(batch(2, dtype=torch.float64), M), rtol=0, atol=2e-14)


@case()
def compiled(mesh: Any) -> None:
    A, M = batch(4, dtype=torch.float64), random_hermitian(4, 4, dtype=torch.float64, seed=100)
    loss = torch.compile(projector_loss(sharded(M, mesh, None)), backend="aot_eager", fullgraph=True)
    G: Any = gradient(loss, sharded(A, mesh))
    assert list(G.placements) == shard(0)
    torch.testing.assert_close(whole(G), projector_gradient(A, M), rtol=0, atol=2e-14)


REFUSALS = ("got mixed torch.Tensor and DTensor", "does not have a sharding strategy registered")


def check_right_or_refused(function: Callable[..., Tensor], given: tuple[Any, ...], plain: tuple[Tensor, ...]) -> None:
    # Forward mode consists of many tensor operations, and torch decides which of them DTensor supports.
    try:
        got = function(*given)
    except (RuntimeError, NotImplementedError) as error:
        if not any(words in str(error) for words in REFUSALS):
            raise
        return
    torch.testing.assert_close(whole(got), function(*plain), rtol=0, atol=1e-12)


@case()
def second_derivatives_and_forward_mode(mesh: Any) -> None:
    M = random_hermitian(4, 4, dtype=torch.float64, seed=100)
    A = batch(4, dtype=torch.float64) + 0.1 * random_hermitian(4, 4, 4, dtype=torch.float64, seed=101)
    direction = random_hermitian(4, 4, 4, dtype=torch.float64, seed=102)

    def hessian_product(X: Tensor, M: Tensor, direction: Tensor) -> Tensor:
        X = X.detach().clone().requires_grad_()
        (G,) = torch.autograd.grad(projector_loss(M)(X), X, create_graph=True)
        (H,) = torch.autograd.grad((G * direction).sum(), X)
        return H

    def tangent(X: Tensor, M: Tensor, direction: Tensor) -> Tensor:
        with forward_ad.dual_level():
            L = sg.eigh(forward_ad.make_dual(X, direction)).eigenvalues
            return forward_ad.unpack_dual(L).tangent

    given = (sharded(A, mesh), sharded(M, mesh, None), sharded(direction, mesh))
    expected = hessian_product(A, M, direction)
    torch.testing.assert_close(whole(hessian_product(*given)), expected, rtol=0, atol=1e-12)
    check_right_or_refused(tangent, given, (A, M, direction))


def run_cases(rank: int, processes: int, folder: Path) -> None:
    from torch import distributed

    warnings.simplefilter("error", sg.GaugeWarning)  # as in conftest.py
    torch.set_num_threads(1)
    # The timeout ends processes that wait for one that has failed.
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=60),
    )
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (processes,))
    failures = {}
    for name, function in CASES[processes].items():
        try:
            function(mesh)
        except BaseException:  # noqa: BLE001  pytest.raises raises one that is not an Exception
            failures[name] = traceback.format_exc()
    (folder / f"failures_{rank}.json").write_text(json.dumps(failures))
    distributed.barrier()
    distributed.destroy_process_group()
    # Without static destructors: on a busy machine one of gloo's threads still runs, and std::terminate is called.
    sys.stdout.flush()
    os._exit(0)


# --- the tests -------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    """Number of processes -> the failures in any of them, by name. The processes are started once."""
    found: dict[int, dict[str, str]] = {}

    def of(processes: int) -> dict[str, str]:
        if processes not in found:
            folder = tmp_path_factory.mktemp("processes")
            command = [sys.executable, __file__, str(processes), str(folder)]
            run = subprocess.run(
                command, env=environment(), check=False, capture_output=True, text=True, timeout=SECONDS + 30
            )
            assert run.returncode == 0, run.stdout + run.stderr
            found[processes] = {}
            for rank in range(processes):
                for name, text in json.loads((folder / f"failures_{rank}.json").read_text()).items():
                    found[processes].setdefault(name, f"in process {rank}:\n{text}")
        return found[processes]

    return of


@pytest.mark.parametrize(("processes", "name"), [(count, name) for count in CASES for name in CASES[count]])
def test_in_processes(failures: Callable[[int], dict[str, str]], processes: int, name: str) -> None:
    failure = failures(processes).get(name)
    assert failure is None, failure


ONE_PROCESS = """
from torch.distributed.device_mesh import init_device_mesh
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
D = distribute_tensor(torch.eye(2).expand(3, 2, 2), mesh, [Shard(0)])
"""
IMPORTS = "import spectralgrad as sg, torch; from torch.distributed.tensor import Shard, distribute_tensor\n"
PROGRAMS = {
    "DTensor first": "import torch.distributed.tensor; import spectralgrad",
    "register": f"{IMPORTS}sg.distributed.register()",
    "register before DTensor": "import spectralgrad as sg; sg.distributed.register(); import torch.distributed.tensor",
    "example": "import doctest, spectralgrad as sg; assert doctest.testmod(sg.distributed) == (0, 2)",
    "register twice": f"{IMPORTS}sg.distributed.register(); sg.distributed.register()",
    "first call": f"{IMPORTS}{ONE_PROCESS}assert sg.expm(D).placements == D.placements",
    "first call of several operators": f"{IMPORTS}{ONE_PROCESS}sg.density_matrix(D, electrons=2, kT=0.1)",
    "first call by torch": f"{IMPORTS}{ONE_PROCESS}\nwith sg.stand_in():\n    torch.linalg.eigh(D)",
}


@pytest.fixture(scope="module")
def with_torch() -> Iterator[Interpreter]:
    """An interpreter that has imported torch, but neither DTensor nor spectralgrad."""
    with Interpreter("torch", environment={"OMP_NUM_THREADS": "1"}) as interpreter:
        yield interpreter


def run_program(program: str, with_torch: Interpreter) -> None:
    assert with_torch.run(program) == (0, "")


def test_the_interpreter_has_imported_neither(with_torch: Interpreter) -> None:
    run_program("import sys; assert not {'torch.distributed.tensor', 'spectralgrad'} & set(sys.modules)", with_torch)
    result = with_torch.run("import torch; assert torch.zeros(1)")
    assert result.returncode == 1
    assert "AssertionError" in result.output


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_operators_are_registered(program: str, with_torch: Interpreter) -> None:
    run_program(
        f"""{program}
from torch.distributed.tensor import DTensor
from spectralgrad import _operators
known = DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs
for name, operator in _operators.OPERATORS.items():
    assert operator.trailing is None or _operators.handle(name) in known, name
""",
        with_torch,
    )


def test_an_operator_that_is_not_registered_is_refused_by_dtensor(with_torch: Interpreter) -> None:
    run_program(
        f"""{IMPORTS}{ONE_PROCESS}
try:
    torch.ops.spectralgrad.eigh(D, "L", None, [])
except NotImplementedError as error:
    assert "spectralgrad.eigh.default does not have a sharding strategy registered" in str(error), error
else:
    raise AssertionError("no error")
sg.distributed.register()
torch.ops.spectralgrad.eigh(D, "L", None, [])
""",
        with_torch,
    )


@pytest.mark.parametrize("statement", ["sg.distributed.register()", "sg.eigh(D)"])
def test_compiled_code(statement: str, with_torch: Interpreter) -> None:
    run_program(
        f"""{IMPORTS}{ONE_PROCESS}
{statement}
compiled = torch.compile(lambda A: sg.eigh(A)[0], backend="aot_eager", fullgraph=True)
assert compiled(D).placements == D.placements
""",
        with_torch,
    )


def test_importing_spectralgrad_does_not_import_dtensor() -> None:
    program = """import sys, spectralgrad
assert 'torch.distributed.tensor' not in sys.modules
import torch
assert not [x for x in sys.meta_path if 'spectralgrad' in repr(x)]
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=environment(), timeout=120)


def test_without_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_registered", False)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.delitem(sys.modules, "torch.distributed.tensor", raising=False)
    distributed._register_if_imported()
    with pytest.raises(RuntimeError, match=r"^spectralgrad\.distributed\.register: Expected a torch with"):
        distributed.register()


def test_example_under_torchrun() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(EXAMPLE)]
    run = subprocess.run(command, check=True, env=environment(), timeout=120, capture_output=True, text=True)
    lines = sorted(line for line in run.stdout.splitlines() if line.startswith("process"))
    shares = ["process 0: 51 of 101 matrices", "process 1: 50 of 101 matrices"]
    assert [line.split(",")[0] for line in lines] == shares
    for line in lines:
        assert float(line.split("off by ")[1].split()[0]) <= 1e-14


def run_in_forks(processes: int, folder: Path) -> int:
    """Forks after the imports, so that they are done once. Returns 0 if every process does."""
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            run_cases(rank, processes, folder)
        children.append(child)
    return max(abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) for child in children)


if __name__ == "__main__":
    import torch.distributed.tensor

    sys.exit(run_in_forks(int(sys.argv[1]), Path(sys.argv[2])))
