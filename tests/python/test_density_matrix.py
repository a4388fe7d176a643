"""Values of density_matrix against a reference of 60 digits; batches, dtypes and transforms."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import networkx
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

import spectralgrad as sg
from density_matrix_cases import (
    FERMI_LEVELS,
    case,
    directions,
    each_filling,
    each_graph,
    each_overlap,
    error,
    evaluate,
    graph_hamiltonian,
    overlap_of,
    with_leaves,
)
from density_matrix_reference import DIGITS, FIELDS, MATRICES, chemical_potential, solved, tangents
from problems import ALL, benzene, by_precision, each_double, eps, expectation, hermitian_part, huckel, random_hermitian
from reference import relative_error


@each_graph
def test_the_reference_obeys_hellmann_and_feynman(graph: str) -> None:
    inputs = case(graph, "a fraction", "overlap", torch.complex128)
    values, along = solved(inputs), directions(inputs)
    expected = {
        "H": expectation(values["density_matrix"], along["H"]["H"]),
        "S": -expectation(values["energy_weighted_density_matrix"], along["S"]["S"]),
        "electrons": values["mu"],
        "kT": -values["entropy"],
    }
    for name, slope in expected.items():
        assert error(tangents(inputs, along[name])["free_energy"], slope) <= 1e-15


# --- values ----------------------------------------------------------------------------------------------------------


@each_graph
@each_filling
@each_overlap
@each_double
def test_values(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    inputs = case(graph, filling, overlap, dtype)
    result = evaluate(inputs)
    assert type(result).__name__ == "DensityMatrixResult"
    assert result._fields == FIELDS
    for name, expected in solved(inputs).items():
        ours = getattr(result, name)
        assert ours.dtype == (dtype if name in MATRICES else torch.float64)
        assert error(ours, expected) <= 1e-13, name
    options = {name: x for name, x in inputs.items() if name not in ("H", "S")}
    assert torch.equal(sg.density_matrix(inputs["H"], overlap=inputs["S"], **options), result.density_matrix)


@pytest.mark.parametrize("t", [0.1, 1.0, -2.5])
@pytest.mark.parametrize("kT", [0.05, 0.3, 4.0])
def test_two_levels_in_closed_form(t: float, kT: float) -> None:
    H = torch.tensor([[0, t], [t, 0]], dtype=torch.float64)
    result = sg.density_matrix(H, electrons=2, kT=kT, full_output=True)
    order, free_energy = -np.tanh(t / (2 * kT)), -4 * kT * np.logaddexp(t / (2 * kT), -t / (2 * kT))
    expected = {
        "density_matrix": [[1, order], [order, 1]],
        "mu": 0,
        "energy": 2 * t * order,
        "entropy": (2 * t * order - free_energy) / kT,
        "free_energy": free_energy,
        "energy_weighted_density_matrix": [[t * order, t], [t, t * order]],
    }
    for field, value in expected.items():
        assert error(getattr(result, field), torch.tensor(value, dtype=torch.float64)) <= 1e-14, field


TEXTBOOK = {
    "ethylene": (networkx.path_graph(2), {(0, 1): 1.0}, 2.0),
    "butadiene": (networkx.path_graph(4), {(0, 1): 2 / 5**0.5, (1, 2): 1 / 5**0.5}, 2 * 5**0.5),
    "benzene": (benzene(), {(0, 1): 2 / 3, (2, 3): 2 / 3}, 8.0),
    "cyclopropenyl cation": (networkx.cycle_graph(3), {(0, 1): 2 / 3}, 4.0),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_bond_orders_of_the_textbook(name: str) -> None:
    """Coulson and Longuet-Higgins (1947): bond orders, and the π-energy of which they are the derivatives."""
    graph, orders, energy = TEXTBOOK[name]
    H = huckel(graph).requires_grad_()
    result = sg.density_matrix(H, electrons=2 if len(graph) == 3 else len(graph), full_output=True)
    (G,) = torch.autograd.grad(result.energy, H)
    assert abs(result.energy.item() + energy) <= 1e-14
    for (i, j), order in orders.items():
        assert abs(result.density_matrix[i, j].item() - order) <= 1e-15 * len(graph)
        assert abs(float(G[i, j]) - order) <= 1e-15 * len(graph)


@each_double
def test_larger_ones_against_scipy(dtype: torch.dtype) -> None:
    n = 60
    H, S = random_hermitian(n, n, dtype=dtype, seed=1), overlap_of(n, dtype, 50.0)
    levels, C = scipy.linalg.eigh(H.numpy(), S.numpy())
    for electrons, kT in ((51.5, 2.0), (20.5, 0.1), (100.25, 0.5)):
        f = lambda mu, kT=kT: scipy.special.expit((mu - levels) / kT)  # noqa: E731
        excess_electrons = lambda mu, f=f, n=electrons: 2 * f(mu).sum() - n  # noqa: E731
        mu = scipy.optimize.brentq(excess_electrons, levels[0], levels[-1], xtol=1e-15)
        ours = sg.density_matrix(H, electrons=electrons, kT=kT, overlap=S, full_output=True)
        expected = {
            "density_matrix": 2 * (C * f(mu)) @ C.conj().T,
            "mu": mu,
            "energy": 2 * (f(mu) * levels).sum(),
            "entropy": 2 * (scipy.special.entr(f(mu)) + scipy.special.entr(1 - f(mu))).sum(),
            "energy_weighted_density_matrix": 2 * (C * (f(mu) * levels)) @ C.conj().T,
        }
        for field, value in expected.items():
            assert error(getattr(ours, field), torch.as_tensor(value, dtype=getattr(ours, field).dtype)) <= 1e-11, field


@pytest.mark.parametrize("name", FERMI_LEVELS)
def test_fermi_level_to_the_last_digit(name: str) -> None:
    levels, electrons, kT, spin = FERMI_LEVELS[name]
    result = sg.density_matrix(
        torch.diag(torch.tensor(levels, dtype=torch.float64)), electrons=electrons, kT=kT, spin=spin, full_output=True
    )
    with mpmath.workdps(DIGITS):
        mu = chemical_potential([mpmath.mpf(x) for x in levels], mpmath.mpf(electrons) / spin, mpmath.mpf(kT))
        # Solves the original equation, with enough digits for occupations and holes as small as e^(-Δ/kT).
        if kT > 1e-4:
            with mpmath.workdps(2000):
                refined = mpmath.findroot(
                    lambda x: (
                        sum(1 / (1 + mpmath.exp((mpmath.mpf(e) - x) / kT)) for e in levels)
                        - mpmath.mpf(electrons) / spin
                    ),
                    (mu, mu + mpmath.mpf(10) ** (5 - DIGITS)),
                    verify=False,
                )
                assert abs(refined - mu) <= mpmath.mpf(10) ** (15 - DIGITS) * max(map(abs, levels))
        miss = abs(mpmath.mpf(result.mu.item()) - mu)
        assert miss <= 2 * eps(torch.float64) * max(abs(mu), max(abs(mpmath.mpf(x)) for x in levels))
        expected = [spin / (1 + mpmath.exp((e - mu) / kT)) for e in levels]
    occupied = result.density_matrix.diagonal().tolist()
    # The round-off of μ, divided by kT, is the error of the occupations.
    tolerance = 8 * eps(torch.float64) * max(1, max(map(abs, levels)) / kT)
    if tolerance < 1e-3:
        assert max(abs(float(a - b)) for a, b in zip(occupied, expected)) <= tolerance
        assert abs(sum(occupied) - electrons) <= tolerance * electrons


@pytest.mark.parametrize("seed", range(20))
def test_fermi_level_of_random_levels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    levels = np.sort(rng.uniform(-3, 3, n)).tolist()
    electrons, kT = float(rng.uniform(0.01, 2 * n - 0.01)), float(10 ** rng.uniform(-4, 1))
    H = torch.diag(torch.tensor(levels, dtype=torch.float64))
    mu = sg.density_matrix(H, electrons=electrons, kT=kT, full_output=True).mu
    with mpmath.workdps(DIGITS):
        expected = chemical_potential([mpmath.mpf(x) for x in levels], mpmath.mpf(electrons) / 2, mpmath.mpf(kT))
        assert abs(mpmath.mpf(mu.item()) - expected) <= 2 * eps(torch.float64) * max(3, abs(expected))


@pytest.mark.parametrize("electrons", [0, 8])
def test_no_electrons_and_full_levels(electrons: int) -> None:
    H = graph_hamiltonian("cube", torch.float64)[:4, :4]
    X = H.clone().requires_grad_()
    result = sg.density_matrix(X, electrons=electrons, full_output=True)
    assert error(result.density_matrix, torch.eye(4, dtype=H.dtype) * electrons / 4) <= 1e-15
    assert error(result.energy, H.trace() * electrons / 4) <= 1e-14
    assert result.entropy.item() == 0
    (G,) = torch.autograd.grad(expectation(random_hermitian(4, 4, dtype=H.dtype, seed=1), result.density_matrix), X)
    assert error(G, torch.zeros_like(G)) <= 1e-15
    with pytest.raises(ValueError, match="electrons"):  # μ would be infinite
        sg.density_matrix(H, electrons=electrons, kT=0.1)


@each_double
def test_projector_is_idempotent(dtype: torch.dtype) -> None:
    S = overlap_of(6, dtype)
    for overlap in (None, S):
        H = graph_hamiltonian("benzene", dtype, overlap)
        result = sg.density_matrix(H, electrons=6, overlap=overlap, full_output=True)
        P = result.density_matrix / 2
        assert error(P @ (P if overlap is None else S @ P), P) <= 1e-14
        assert abs(float(result.mu)) <= 1e-14  # the middle of -1 and 1
        assert abs(float(result.energy) + 8) <= 1e-13
        assert float(result.entropy) == 0


# --- batches, shapes, types ------------------------------------------------------------------------------------------


@each_overlap
@each_double
def test_batch_with_a_filling_for_each(overlap: str, dtype: torch.dtype) -> None:
    """Electrons or μ, and kT, differ within a batch. Each matrix has the same values and derivatives as alone."""
    S = overlap_of(6, dtype) if overlap == "overlap" else None
    Hs = torch.stack([(1 + k) * graph_hamiltonian("benzene", dtype, S) for k in range(3)]).reshape(3, 1, 6, 6)
    M = random_hermitian(3, 2, 6, 6, dtype=dtype, seed=3)
    kT = torch.tensor([0.2, 0.5], dtype=torch.float64)
    number = torch.tensor([[6.0], [2.5], [11.0]], dtype=torch.float64)
    for name in ("electrons", "mu"):
        given = number if name == "electrons" else number / 6 - 1
        leaves = [x.clone().requires_grad_() for x in (Hs.expand(3, 2, 6, 6), given, kT)]
        options: dict[str, Any] = {name: leaves[1], "overlap": S}
        result = sg.density_matrix(leaves[0], kT=leaves[2], full_output=True, **options)
        gradients = torch.autograd.grad(expectation(M, result.density_matrix) + result.entropy.sum(), leaves)
        sums = [torch.zeros_like(x) for x in leaves]
        for i, j in itertools.product(range(3), range(2)):
            alone = [x.clone().requires_grad_() for x in (Hs[i, 0], given[i, 0], kT[j])]
            one = sg.density_matrix(alone[0], kT=alone[2], full_output=True, **(options | {name: alone[1]}))
            for field in FIELDS:
                assert error(getattr(result, field)[i, j], getattr(one, field).detach()) <= 1e-14, field
            G = torch.autograd.grad(expectation(M[i, j], one.density_matrix) + one.entropy, alone)
            for target, index, g in zip(sums, ((i, j), (i, 0), (j,)), G):
                target[index] += g
        for ours, expected in zip(gradients, sums):
            assert error(ours, expected) <= 1e-13


@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("dtype", ALL)
def test_shapes_and_types(dtype: torch.dtype, n: int, batch: tuple[int, ...]) -> None:
    H = random_hermitian(*batch, n, n, dtype=dtype, seed=2)
    S = torch.eye(n, dtype=dtype)
    fillings: list[dict[str, Any]] = [
        {"electrons": n, "kT": 0.1},
        {"mu": 0.1, "kT": 0.1},
        {"electrons": n},
        {"mu": 0.1},
    ]
    for filling, overlap in itertools.product(fillings, (None, S, S.expand(H.shape))):
        X = H.clone().requires_grad_()
        result = sg.density_matrix(X, overlap=overlap, full_output=True, **filling)
        for field in FIELDS:
            value = getattr(result, field)
            assert value.shape == (H.shape if field in MATRICES else batch), field
            assert value.dtype == (dtype if field in MATRICES else dtype.to_real()), field
        traces = result.density_matrix.diagonal(dim1=-2, dim2=-1).real.sum(-1)
        if "electrons" in filling:
            torch.testing.assert_close(traces, torch.full_like(traces, n), rtol=20 * eps(dtype), atol=20 * eps(dtype))
        # With fixed electrons and kT = 0, the gradient of the energy is D.
        (G,) = torch.autograd.grad(result.energy.sum(), X)
        assert G.shape == H.shape
        if filling == {"electrons": n}:
            torch.testing.assert_close(G, result.density_matrix.detach(), rtol=0, atol=50 * eps(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ALL)
@each_graph
@pytest.mark.parametrize("filling", ["half", "a fraction", "projector", "mu", "gaussian", "Methfessel-Paxton", "cold"])
@each_overlap
def test_every_precision(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Single precision is accurate to about its round-off, with and without degenerate levels."""
    inputs = case(graph, filling, overlap, dtype)
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    leaves = with_leaves(inputs, ["H"])
    result = evaluate(leaves)
    for field, expected in solved(inputs).items():
        assert error(getattr(result, field), expected) <= by_precision(dtype, 1e-13, 5e-6), field
    (G,) = torch.autograd.grad(expectation(M, result.density_matrix), leaves["H"])
    assert relative_error(G, tangents(inputs, {"H": M})["density_matrix"]) <= by_precision(dtype, 1e-12, 2e-5)


@pytest.mark.parametrize("dtype", ALL)
def test_only_the_lower_triangles_are_read(dtype: torch.dtype) -> None:
    S = overlap_of(6, dtype)
    H = graph_hamiltonian("benzene", dtype, S)
    M = random_hermitian(6, 6, dtype=dtype, seed=3)

    def dirty(A: Tensor, garbage: float) -> Tensor:
        A = torch.where(torch.ones_like(A, dtype=torch.bool).triu(1), torch.full_like(A, garbage), A)
        if dtype.is_complex:
            A.imag.diagonal().fill_(garbage)
        return A

    def outputs(H: Tensor, S: Tensor, filling: dict[str, Any]) -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in (H, S)]
        result = sg.density_matrix(leaves[0], overlap=leaves[1], full_output=True, **filling)
        loss = expectation(M, result.density_matrix) + expectation(M, result.energy_weighted_density_matrix)
        return [*result, *torch.autograd.grad(loss, leaves)]

    for filling in ({"electrons": 5.5, "kT": 0.2}, {"electrons": 6}):
        clean = outputs(H, S, filling)
        for garbage in (1e3, torch.nan, torch.inf):
            for ours, expected in zip(outputs(dirty(H, garbage), dirty(S, garbage), filling), clean):
                assert torch.equal(ours, expected)


def test_numbers_and_tensors_are_the_same() -> None:
    H = graph_hamiltonian("cube", torch.float64)
    plain = sg.density_matrix(H, electrons=7.5, kT=0.2)
    for kind in (torch.float64, torch.float32):
        D = sg.density_matrix(H, electrons=torch.tensor(7.5, dtype=kind), kT=torch.tensor(0.25, dtype=kind))
        assert error(D, sg.density_matrix(H, electrons=7.5, kT=0.25)) <= 1e-15
    assert torch.equal(plain, sg.density_matrix(H, electrons=torch.tensor(7.5, dtype=H.dtype), kT=0.2))
    assert torch.equal(sg.density_matrix(H, mu=0), sg.density_matrix(H, mu=torch.tensor(0)))
    assert torch.equal(sg.density_matrix(H, electrons=8), sg.density_matrix(H, electrons=torch.tensor(8)))
    # `spin` is the number of electrons that fill a level, and a factor of the result.
    one, two = sg.density_matrix(H, electrons=3.75, kT=0.2, spin=1), plain
    assert error(2 * one, two) <= 1e-15


# --- transforms ------------------------------------------------------------------------------------------------------


@each_double
def test_vmap(dtype: torch.dtype) -> None:
    H = torch.stack([(1 + k) * graph_hamiltonian("benzene", dtype) for k in range(3)])
    electrons, kT = torch.tensor([6.0, 2.5, 11.0], dtype=torch.float64), torch.tensor([0.2, 0.3, 0.4]).double()
    S = torch.stack([overlap_of(6, dtype, condition) for condition in (2.0, 5.0, 10.0)])
    M = random_hermitian(6, 6, dtype=dtype, seed=3)

    def loss(H: Tensor, electrons: Tensor, kT: Tensor, S: Tensor) -> Tensor:
        return expectation(M, sg.density_matrix(H, electrons=electrons, kT=kT, overlap=S))

    gradient = torch.func.grad(loss, argnums=(0, 1, 2, 3))
    for mapped in (
        torch.func.vmap(gradient)(H, electrons, kT, S),
        torch.func.vmap(gradient, in_dims=(-1, 0, 0, 1))(H.movedim(0, -1), electrons, kT, S.movedim(0, 1)),
    ):
        for k in range(3):
            for ours, expected in zip(mapped, gradient(H[k], electrons[k], kT[k], S[k])):
                # Products round differently in a batch, and errors of levels are divided by kT.
                assert error(ours[k], expected) <= 4e-13
    # One matrix with many fillings; many matrices with one filling.
    several = torch.func.vmap(lambda N: sg.density_matrix(H[0], electrons=N, kT=0.2))(electrons)
    assert error(several[1], sg.density_matrix(H[0], electrons=2.5, kT=0.2)) <= 1e-14
    projectors = torch.func.vmap(lambda X: sg.density_matrix(X, electrons=6))(H)
    assert error(projectors[2], sg.density_matrix(H[2], electrons=6)) <= 1e-14


def test_jacobians() -> None:
    H = graph_hamiltonian("benzene", torch.float64)
    along = tangents(
        case("benzene", "a fraction", "orthonormal", torch.float64), {"H": hermitian_part(torch.ones(6, 6)).double()}
    )

    def D(X: Tensor) -> Tensor:
        return sg.density_matrix(hermitian_part(X), electrons=3.7, kT=0.25)

    for jacobian in (torch.func.jacrev(D)(H), torch.func.jacfwd(D)(H), torch.autograd.functional.jacobian(D, H)):
        assert error(jacobian.sum((-2, -1)), along["density_matrix"]) <= 1e-13


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiles() -> None:
    H, S = graph_hamiltonian("benzene", torch.float64), overlap_of(6, torch.float64)
    M = random_hermitian(6, 6, dtype=H.dtype, seed=3)

    def loss(H: Tensor, S: Tensor, electrons: Tensor) -> Tensor:
        result = sg.density_matrix(H, electrons=electrons, kT=0.2, overlap=S, full_output=True)
        cold = sg.density_matrix(H, electrons=electrons, kT=0.5, smearing="cold")[0, 1]
        projector = sg.density_matrix(H, electrons=6)[0, 1]
        return expectation(M, result.density_matrix) + result.free_energy + cold + projector

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    values = []
    for f in (loss, compiled):
        leaves = [x.clone().requires_grad_() for x in (H, S, torch.tensor(5.5, dtype=H.dtype))]
        y = f(*leaves)
        values.append([y, *torch.autograd.grad(y, leaves)])
    for ours, expected in zip(*values):
        assert error(ours, expected.detach()) <= 1e-14
