"""First, second and third derivatives of density_matrix against differences of a reference in 60 digits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import networkx
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from density_matrix_cases import (
    case,
    differentiable,
    directions,
    each_filling,
    each_graph,
    each_molecule,
    each_overlap,
    error,
    evaluate,
    forward_tangents,
    graph_hamiltonian,
    overlap_of,
    probe,
    ring,
    tolerance,
    with_leaves,
)
from density_matrix_reference import DIGITS, MATRICES, Inputs, chemical_potential, second_tangents, solved, tangents
from problems import buckminsterfullerene, each_double, expectation, hermitian_part, huckel, random_hermitian, total
from reference import relative_error
from spectralgrad import _high_precision as exact

# --- first derivatives -----------------------------------------------------------------------------------------------


@each_molecule
@each_filling
@each_overlap
def test_first_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Forward mode gives every field along every input, and backward every field's gradient in all inputs."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    expected = {name: tangents(inputs, direction) for name, direction in along.items()}
    for name, direction in along.items():
        ours = forward_tangents(inputs, direction)
        for field in differentiable(inputs):
            assert error(ours[field], expected[name][field]) <= tolerance(inputs), (name, field)
    leaves = with_leaves(inputs, along)
    result = evaluate(leaves)
    for field in differentiable(inputs):
        value = getattr(result, field)
        M = probe(field, value)
        loss = expectation(M, value) if field in MATRICES else value
        gradients = torch.autograd.grad(loss, [leaves[name] for name in along], retain_graph=True, allow_unused=True)
        for (name, direction), G in zip(along.items(), gradients):
            slope = expected[name][field]
            slope = expectation(M, slope) if field in MATRICES else slope
            if G is None:
                assert float(slope.abs()) <= 1e-20, (name, field)
                continue
            if name in ("H", "S"):
                assert torch.equal(G, G.mH.resolve_conj())
            change = expectation(G, direction[name]) if G.dim() else G
            assert error(change, slope, max(1, float(G.abs().max()))) <= tolerance(inputs), (name, field)


@each_molecule
@pytest.mark.parametrize(
    "filling", ["half", "a fraction", "low", "spin 1", "projector", "gaussian", "Methfessel-Paxton", "cold"]
)
@each_overlap
def test_gradient_of_the_free_energy(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """∂F/∂H = D, ∂F/∂S = -W, ∂F/∂N = μ and ∂F/∂kT = -entropy, to round-off. Forces need W."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    leaves = with_leaves(inputs, along)
    result = evaluate(leaves)
    gradients = dict(zip(along, torch.autograd.grad(result.free_energy, [leaves[name] for name in along])))
    expected = {
        "H": result.density_matrix,
        "S": -result.energy_weighted_density_matrix,
        "electrons": result.mu,
        "kT": -result.entropy,
    }
    for name, G in gradients.items():
        assert error(G, expected[name].detach()) <= (1e-14 if overlap == "orthonormal" else 1e-13), name


@each_overlap
@each_double
def test_gradient_at_a_chemical_potential(overlap: str, dtype: torch.dtype) -> None:
    """At fixed μ, the gradients of Ω = F - μN are D in H and -W in S, and its slope in μ is -N."""
    inputs = case("cube", "mu", overlap, dtype)
    along = directions(inputs)
    leaves = with_leaves(inputs, along)
    result = evaluate(leaves)
    S = torch.eye(8, dtype=dtype) if leaves["S"] is None else leaves["S"]
    electrons = expectation(S, result.density_matrix)
    omega = result.free_energy - leaves["mu"] * electrons
    gradients = dict(zip(along, torch.autograd.grad(omega, [leaves[name] for name in along])))
    expected = {
        "H": result.density_matrix,
        "S": -result.energy_weighted_density_matrix,
        "mu": -electrons,
        "kT": -result.entropy,
    }
    for name, G in gradients.items():
        assert error(G, expected[name].detach()) <= 1e-13, name


@pytest.mark.parametrize("filling", ["half", "projector"])
@each_graph
@each_double
def test_every_entry_of_the_gradients(graph: str, filling: str, dtype: torch.dtype) -> None:
    """Every entry. D = ∂F/∂H and W = -∂F/∂S, so by Schwarz the gradients of tr(M D) are derivatives along M."""
    inputs = case(graph, filling, "overlap", dtype)
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    leaves = with_leaves(inputs, ["H", "S"])
    result = evaluate(leaves)
    along_H, along_S = tangents(inputs, {"H": M}), tangents(inputs, {"S": M})
    D, W = MATRICES
    for field, expected in {D: (along_H[D], -along_H[W]), W: (-along_S[D], along_S[W])}.items():
        ours = torch.autograd.grad(
            expectation(M, getattr(result, field)), [leaves["H"], leaves["S"]], retain_graph=True
        )
        for G, reference in zip(ours, expected):
            assert relative_error(G, reference) <= 1e-12, field


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("filling", ["half", "projector"])
@each_double
def test_ill_conditioned_overlap(filling: str, condition: float, dtype: torch.dtype) -> None:
    inputs = case("benzene", filling, "overlap", dtype, condition)
    for name, expected in solved(inputs).items():
        assert error(getattr(evaluate(inputs), name), expected) <= 1e-14 * condition, name
    M = random_hermitian(6, 6, dtype=dtype, seed=3)
    leaves = with_leaves(inputs, ["H", "S"])
    gradients = torch.autograd.grad(expectation(M, evaluate(leaves).density_matrix), [leaves["H"], leaves["S"]])
    along = tangents(inputs, {"H": M})
    for G, expected in zip(gradients, (along["density_matrix"], -along["energy_weighted_density_matrix"])):
        assert relative_error(G, expected) <= 1e-14 * condition


def test_derivatives_of_a_fermi_level_between_empty_and_full() -> None:
    """All f(1 - f) underflow. ∂μ is a quotient of their sums, so it is still the mean over the levels at the gap."""
    H = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 3.0], dtype=torch.float64)).requires_grad_()
    mu = sg.density_matrix(H, electrons=4, kT=1e-3, full_output=True).mu
    (G,) = torch.autograd.grad(mu, H)
    # (ε - μ)/kT is 1000, and its round-off is the relative error of f(1 - f).
    assert error(G, torch.diag(torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=H.dtype))) <= 1e-13


def test_an_electron_added_to_a_gap_that_is_too_cold() -> None:
    """f(1 - f) underflows, so the derivative is 0/0 and the result NaN."""
    electrons = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    D = sg.density_matrix(torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)), electrons=electrons, kT=1e-3)
    assert bool(torch.autograd.grad(D[0, 0], electrons)[0].isnan())


@pytest.mark.parametrize("kT", [0.2, 0.05, 0.03])
@each_double
def test_an_electron_added_to_a_gap(kT: float, dtype: torch.dtype) -> None:
    """∂D/∂N = f(1 - f)/Σ f(1 - f) is half below and half above the gap, however small f(1 - f) is; and ∂F/∂N = μ."""
    v = torch.tensor([1, 1j, -1, 1j] if dtype.is_complex else [1.0, 1.0, -1.0, 1.0], dtype=dtype) / 2
    P = torch.outer(v, v.conj())
    eye = torch.eye(4, dtype=dtype)
    electrons = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    result = sg.density_matrix(eye - 2 * P, electrons=electrons, kT=kT, full_output=True)  # -1, 1, 1, 1
    with mpmath.workdps(DIGITS):
        mu = chemical_potential([-1, 1, 1, 1], mpmath.mpf(1), mpmath.mpf(kT))
        below, above = (1 / (mpmath.cosh((e - mu) / (2 * kT))) ** 2 for e in (-1, 1))
        share = float(below / (below + 3 * above))
    M = random_hermitian(4, 4, dtype=dtype, seed=3)
    (slope,) = torch.autograd.grad(expectation(M, result.density_matrix), electrons, retain_graph=True)
    assert error(slope, expectation(M, share * P + (1 - share) / 3 * (eye - P))) <= 1e-12
    (slope,) = torch.autograd.grad(result.free_energy, electrons)
    assert error(slope, result.mu.detach()) <= 1e-12


# --- second derivatives ----------------------------------------------------------------------------------------------


def _smooth_loss(inputs: Inputs, names: tuple[str, ...], M: Tensor) -> Callable[..., Tensor]:
    """A loss of all fields, with a different factor for each so that errors do not cancel."""

    def loss(*values: Tensor) -> Tensor:
        result = evaluate(inputs | dict(zip(names, values)))
        return total(
            (k + 1) * (expectation(M, getattr(result, field)) if field in MATRICES else getattr(result, field))
            for k, field in enumerate(differentiable(inputs))
        )

    return loss


@each_molecule
@pytest.mark.parametrize(
    "filling", ["half", "a fraction", "mu", "projector", "gaussian", "Methfessel-Paxton", "cold", "cold at mu"]
)
@each_overlap
def test_second_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Mixed second derivatives in all inputs, by both modes over both modes, against mixed differences."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    names = tuple(along)
    first = {name: direction[name] for name, direction in along.items()}
    second = {
        name: random_hermitian(*x.shape, dtype=dtype, seed=33) * (0.1 if name == "S" else 1) if x.dim() else 0.5 * x
        for name, x in first.items()
    }
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    fields = second_tangents(inputs, first, second)
    expected = total(
        (k + 1) * (expectation(M, fields[field]) if field in MATRICES else fields[field])
        for k, field in enumerate(differentiable(inputs))
    )
    loss = _smooth_loss(inputs, names, M)
    at, one, other = (tuple(x[name] for name in names) for x in (inputs, first, second))

    def slope(*values: Tensor) -> Tensor:
        return torch.func.jvp(loss, values, one)[1]

    def through_gradient(*values: Tensor) -> Tensor:
        gradients = torch.func.grad(loss, argnums=tuple(range(len(names))))(*values)
        return sum((G.conj() * E).sum().real for G, E in zip(gradients, one))

    for way in (slope, through_gradient):
        forward = torch.func.jvp(way, at, other)[1]
        backward = sum(
            (G.conj() * E).sum().real
            for G, E in zip(torch.func.grad(way, argnums=tuple(range(len(names))))(*at), other)
        )
        for ours in (forward, backward):
            assert error(ours, expected) <= 20 * tolerance(inputs)


@each_graph
@each_double
def test_hessian_of_the_free_energy(graph: str, dtype: torch.dtype) -> None:
    """The Hessian of F times E is the derivative of D along E."""
    inputs = case(graph, "a fraction", "orthonormal", dtype)
    leaves = with_leaves(inputs, ["H"])
    (G,) = torch.autograd.grad(evaluate(leaves).free_energy, leaves["H"], create_graph=True)
    for seed in (5, 6):
        E = random_hermitian(*G.shape, dtype=dtype, seed=seed)
        (product,) = torch.autograd.grad(G, leaves["H"], E, retain_graph=True)
        assert relative_error(product, tangents(inputs, {"H": E})["density_matrix"]) <= 1e-13


def test_third_derivatives() -> None:
    """Against a difference of second derivatives, at degenerate levels; a fourth derivative raises."""
    H, E = graph_hamiltonian("benzene", torch.float64), random_hermitian(6, 6, dtype=torch.float64, seed=3)
    jvp, h = torch.func.jvp, 1e-3

    def order(t: Tensor) -> Tensor:
        return sg.density_matrix(H + t * E, electrons=6, kT=0.3)[0, 1]

    def along(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    zero = torch.zeros((), dtype=torch.float64)
    second, third = along(along(order)), along(along(along(order)))
    expected = (8 * (second(zero + h) - second(zero - h)) - (second(zero + 2 * h) - second(zero - 2 * h))) / (12 * h)
    torch.testing.assert_close(third(zero), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.func.grad(second)(zero), expected, rtol=1e-8, atol=1e-8)
    with pytest.raises(RuntimeError, match="a fourth derivative was asked for"):
        torch.func.grad(third)(zero)


@pytest.mark.slow
@pytest.mark.parametrize("fixed", ["electrons", "mu"])
@each_overlap
@each_double
def test_gradcheck(fixed: str, overlap: str, dtype: torch.dtype) -> None:
    n = 3
    S = overlap_of(n, dtype) if overlap == "overlap" else None
    inputs = [
        ring(n, dtype).requires_grad_(),
        *(
            torch.tensor(x, dtype=torch.float64, requires_grad=True)
            for x in (2.5 if fixed == "electrons" else 0.3, 0.4)
        ),
        *([] if S is None else [S.requires_grad_()]),
    ]

    def fields(H: Tensor, given: Tensor, kT: Tensor, S: Tensor | None = None) -> tuple[Tensor, ...]:
        overlap = None if S is None else hermitian_part(S)
        filling: dict[str, Any] = {fixed: given}
        result = sg.density_matrix(hermitian_part(H), kT=kT, overlap=overlap, full_output=True, **filling)
        return tuple(x for x in result if x is not result.mu or fixed == "electrons")

    real = not dtype.is_complex  # torch itself fails batched forward gradients through the .mH of a complex tensor
    # One case is checked in full, the others along random directions.
    fast = dtype.is_complex or overlap == "overlap" or fixed == "mu"
    assert gradcheck(
        fields, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real, fast_mode=fast
    )
    assert gradgradcheck(fields, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True)


@pytest.mark.slow
@each_graph
@each_double
def test_gradcheck_of_molecules(graph: str, dtype: torch.dtype) -> None:
    H = graph_hamiltonian(graph, dtype).requires_grad_()
    for options in ({"electrons": len(H), "kT": 0.3}, {"electrons": len(H)}):

        def fields(X: Tensor, options: Any = options) -> tuple[Tensor, ...]:
            result = sg.density_matrix(hermitian_part(X), full_output=True, **options)
            return result.density_matrix, result.energy, result.energy_weighted_density_matrix

        assert gradcheck(fields, H, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
        assert gradgradcheck(fields, H, check_fwd_over_rev=True, fast_mode=True)


# --- buckminsterfullerene --------------------------------------------------------------------------------------------


class Fullerene(NamedTuple):
    bonds: Tensor  # (2, 90)
    representatives: tuple[int, int]  # one bond of each kind: between two hexagons, around a pentagon
    kinds: Tensor  # (90), 0 or 1
    spectra: list[tuple[exact.Spectrum, exact.Spectrum]]  # with that bond made stronger and weaker by STEP


STEP = 10.0**-10


@functools.lru_cache(maxsize=1)
def fullerene() -> Fullerene:
    graph = networkx.convert_node_labels_to_integers(buckminsterfullerene(), label_attribute="atom")
    bonds = list(graph.edges)
    kinds = [int(graph.nodes[i]["atom"][0] == graph.nodes[j]["atom"][0]) for i, j in bonds]
    representatives = (kinds.index(0), kinds.index(1))
    spectra = []
    for bond in representatives:
        i, j = bonds[bond]
        ahead_and_behind = []
        for step in (STEP, -STEP):
            H = huckel(graph).numpy().astype(object)
            with mpmath.workdps(DIGITS):
                H[i, j] = H[j, i] = mpmath.mpf(H[i, j]) - mpmath.mpf(step)
                ahead_and_behind.append(exact.eigh_mp(H, 30))
        spectra.append((ahead_and_behind[0], ahead_and_behind[1]))
    return Fullerene(torch.tensor(bonds).mT, representatives, torch.tensor(kinds), spectra)


def _free_energy_and_density(spectrum: exact.Spectrum, electrons: float, kT: float) -> tuple[Any, Any]:
    """Free energy and density matrix."""
    levels = spectrum.values
    mu = chemical_potential(levels, mpmath.mpf(electrons) / 2, mpmath.mpf(kT))
    f = [1 / (1 + mpmath.exp((e - mu) / kT)) for e in levels]
    # Ω + μN
    free_energy = mu * electrons - 2 * kT * sum(mpmath.log1p(mpmath.exp((mu - e) / kT)) for e in levels)
    V = spectrum.vectors.to_mpmath()
    return free_energy, 2 * (V * np.array(f, dtype=object)) @ V.T


@pytest.mark.slow
@pytest.mark.parametrize(("electrons", "kT"), [(60, 0.3), (63, 0.05)], ids=["C60", "K3C60"])
def test_bonds_of_buckminsterfullerene(electrons: int, kT: float) -> None:
    """The gradients of F and of bond orders in all 90 bond strengths, from two differences in 30 digits.

    All bonds of a kind have the same ∂F. The derivative of the bond order ij along the bond kl equals that of kl along
    ij (Schwarz), so one difference of all of D gives all 90 derivatives of a bond order. One is checked both ways.
    """
    C60 = fullerene()
    assert C60.kinds.bincount().tolist() == [30, 60]
    i, j = C60.bonds
    slopes, responses = [], []
    with mpmath.workdps(55):
        for spectra in C60.spectra:
            (F_ahead, D_ahead), (F_behind, D_behind) = (_free_energy_and_density(x, electrons, kT) for x in spectra)
            slopes.append(float((F_ahead - F_behind) / (2 * mpmath.mpf(STEP))))
            responses.append(torch.from_numpy(((D_ahead - D_behind) / (2 * mpmath.mpf(STEP))).astype(float)))
    first, second = C60.representatives
    assert abs(responses[0][i[second], j[second]] - responses[1][i[first], j[first]]) <= 1e-15  # Schwarz

    strengths = torch.ones(90, dtype=torch.float64, requires_grad=True)
    H = torch.zeros(60, 60, dtype=torch.float64).index_put((j, i), -strengths)
    result = sg.density_matrix(H + H.mT, electrons=electrons, kT=kT, full_output=True)
    (dF,) = torch.autograd.grad(result.free_energy, strengths, retain_graph=True)
    assert error(dF, torch.tensor(slopes, dtype=torch.float64)[C60.kinds]) <= 1e-13
    for bond, response in zip(C60.representatives, responses):
        order = result.density_matrix[i[bond], j[bond]]
        (G,) = torch.autograd.grad(order, strengths, retain_graph=True)
        assert relative_error(G, response[i, j]) <= 1e-12
