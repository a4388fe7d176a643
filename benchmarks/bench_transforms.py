"""Measures PyTorch's transforms of eigh, eigvalsh, svd and eig against torch.linalg, a small loss included.

The transforms are: backward (the reference for the others), create_graph (a backward that records its graph, which is
then not used), func.grad, vmap(grad), jvp, hvp (the backward of a backward) and jvp(grad) (the forward derivative of a
backward). A product of the Hessian with a vector takes hvp or jvp(grad).

For batches of small matrices, most of the time is PyTorch's. Two elementwise maps in place of the decomposition show
how much: no decomposition can be faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

import spectralgrad as sg
from bench_eig import well_conditioned
from bench_eigh import REAL
from harness import Benchmark, Session, run
from parts import random_matrices
from presentation import CASE_FIELDS, Record, Target, select

LIMIT = 0.9
BOUND = "no decomposition"
BOUND_UP_TO = 16  # n
# Functions of matrices that are not Hermitian, and the largest n. Eigenvectors of larger random matrices in float32
# have few correct digits.
GENERAL = {"svd": 128, "eig": 64}
# The transforms that should be as fast as the plain backward, and the fraction of its speedup that they should reach.
FIRST_ORDER, FRACTION = ("create_graph", "func.grad", "vmap(grad)"), 0.8
SECOND_ORDER = ("hvp", "jvp(grad)")
# (n, batch)
SIZES = (
    *((3, 1024), (3, 16384), (4, 1), (8, 1024), (8, 4096), (16, 256)),
    *((32, 256), (64, 1), (128, 16), (256, 4), (512, 1)),
)
# (Transforms, n, dtypes, target)
TARGETS = (
    (SECOND_ORDER, (3,), REAL, 10.0),
    (SECOND_ORDER, (8,), REAL, 6.0),
    (SECOND_ORDER, (32,), ("float32",), 3.0),
    (SECOND_ORDER, (128, 256), REAL, 1.2),
    (("jvp",), (128, 256, 512), REAL, 1.5),
)

Loss = Callable[[Tensor], Tensor]


class NoDecomposition:
    """Elementwise maps with the shapes and the differentiability of a decomposition."""

    @staticmethod
    def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
        return A.diagonal(0, -2, -1) ** 2, A**2

    @staticmethod
    def svd(A: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, None]:
        return A**2, A.diagonal(0, -2, -1) ** 2, None


class Case(NamedTuple):
    function: str
    operation: str
    dtype: str
    n: int
    batch: int


def matrices(case: Case) -> Tensor:
    A = random_matrices(case.batch, case.n, case.n, case.dtype, case.n)
    if case.function == "eig":
        A = well_conditioned(A)
    elif case.function != "svd":
        A = A + A.mH
    return A if case.batch > 1 else A[0]


def loss_of(module: Any, case: Case) -> Loss:
    """A loss that depends on all values and vectors of a decomposition, but not on the phases of these."""
    w = torch.arange(1, case.n + 1, dtype=getattr(torch, case.dtype)) / case.n

    def loss(A: Tensor) -> Tensor:
        if case.function == "eigvalsh":
            return (module.eigvalsh(A) ** 2 * w).sum()
        if case.function == "svd":
            V, L, _ = module.svd(A, full_matrices=False)
        else:
            L, V = getattr(module, case.function)(A)
        if case.function == "eig":
            L, V = torch.view_as_real(L).square().sum(-1).sqrt(), V.abs()
        return (L**2 * w).sum() + (V[..., 0, :] ** 2 * w).sum()

    return loss


def backward(loss: Loss, A: Tensor, create_graph: bool = False) -> Tensor:
    leaf = A.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf, create_graph=create_graph)[0]


def hessian_product(loss: Loss, A: Tensor, E: Tensor) -> Tensor:
    leaf = A.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    return torch.autograd.grad(gradient, leaf, E)[0]


def call(module: Any, case: Case) -> Callable[[], Any]:
    A = matrices(case)
    E = A.roll(1, -1) + A.roll(1, -1).mH
    loss = loss_of(module, case)
    calls: dict[str, Callable[[], Any]] = {
        "backward": functools.partial(backward, loss, A),
        "create_graph": functools.partial(backward, loss, A, create_graph=True),
        "func.grad": lambda: grad(loss)(A),
        "vmap(grad)": lambda: vmap(grad(loss))(A),
        "jvp": lambda: jvp(loss, (A,), (E,)),
        "hvp": functools.partial(hessian_product, loss, A, E),
        "jvp(grad)": lambda: jvp(grad(loss), (A,), (E,)),
    }
    return calls[case.operation]


def agree(calls: Sequence[Callable[[], Any]], dtype: torch.dtype) -> None:
    """Raises AssertionError if the results differ by more than the amplified round-off of both."""
    first, second = ([torch.as_tensor(x) for x in torch.utils._pytree.tree_leaves(call())] for call in calls)
    for x, y in zip(first, second):
        torch.testing.assert_close(y, x, rtol=0, atol=float(torch.finfo(dtype).eps ** 0.25 * x.abs().max()))


def cases(session: Session) -> list[Case]:
    sizes = ((3, 64), (40, 2)) if session.quick else SIZES
    dtypes = REAL[1:] if session.quick else REAL
    operations = ("backward", *FIRST_ORDER, "jvp", *SECOND_ORDER)
    found = [Case("eigh", operation, d, n, b) for n, b in sizes for d in dtypes for operation in operations]
    found += [Case("eigvalsh", o, d, n, b) for n, b in sizes for d in dtypes for o in ("func.grad", "jvp")]
    first = ("backward", *FIRST_ORDER)
    found += [
        Case(f, o, d, n, b) for f, most in GENERAL.items() for n, b in sizes if n <= most for d in dtypes for o in first
    ]
    return [case for case in found if case.batch > 1 or case.operation != "vmap(grad)"]


def has_bound(case: Case) -> bool:
    return (
        case.function in ("eigh", "svd")
        and case.operation in (*FIRST_ORDER, *SECOND_ORDER)
        and case.batch > 1
        and case.n <= BOUND_UP_TO
    )


def measure(session: Session) -> None:
    for case in session.progress(cases(session)):
        contenders = {
            f"torch.linalg.{case.function}": call(torch.linalg, case),
            f"spectralgrad.{case.function}": call(sg, case),
        }
        agree(list(contenders.values()), getattr(torch, case.dtype))
        if has_bound(case):
            contenders[BOUND] = call(NoDecomposition, case)
        session.compare(contenders, **case._asdict())


def wanted(record: Record, records: Sequence[Record]) -> float:
    """The speedup that a case should reach."""
    target = LIMIT
    if record["operation"] in FIRST_ORDER and record["function"] != "eigvalsh":
        same = {name: record[name] for name in ("function", "dtype", "n", "batch", "threads", "contender")}
        target = max([target, *(FRACTION * r["speedup"] for r in select(records, operation="backward", **same))])
    for operations, sizes, dtypes, speedup in TARGETS:
        if record["operation"] in operations and record["n"] in sizes and record["dtype"] in dtypes:
            target = max(target, speedup) if record["function"] == "eigh" else target
    return target


def targets(records: Sequence[Record]) -> list[Target]:
    return [
        Target(
            {f: r[f] for f in CASE_FIELDS if f in r},
            r["contender"],
            wanted(r, records),
            any_capability=True,
            bound=BOUND,
        )
        for r in records
        if r["contender"].startswith("spectralgrad")
    ]


if __name__ == "__main__":
    run(Benchmark("transforms", "transforms", measure, threads=(2,), targets=targets), __doc__)
