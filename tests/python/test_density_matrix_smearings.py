"""The smearings of density_matrix: occupations, Fermi levels and entropies against a reference of 60 digits."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from density_matrix_cases import FERMI_LEVELS, error, graph_hamiltonian, ring
from density_matrix_reference import DIGITS, SMEARINGS, _gauss, _shifted, chemical_potential, nearest_root
from problems import ALL, by_precision, eps, expectation, hermitian_part, random_hermitian
from spectralgrad._ops.density_matrix import Smearing as SmearingName

WIDTHS = ["gaussian", "methfessel-paxton", "cold"]
each_width = pytest.mark.parametrize("smearing", WIDTHS)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_the_entropy_of_the_reference_belongs_to_its_occupations(smearing: str) -> None:
    """s' = x f', 1 - f is the hole, and f falls from 1 to 0."""
    f = SMEARINGS[smearing]
    with mpmath.workdps(40):
        for x in (-3, -0.7, 0, 0.4, 2):
            slope = x * mpmath.diff(f.occupation, x)
            assert abs(mpmath.diff(f.entropy, x) - slope) <= 1e-15
            assert abs(f.occupation(x) + f.hole(x) - 1) <= 1e-35
        assert f.occupation(200) < 1e-80
        assert f.hole(-200) < 1e-80
        assert f.entropy(-200) < 1e-80


@pytest.mark.parametrize("dtype", ALL)
@each_width
def test_occupations_of_single_levels(smearing: SmearingName, dtype: torch.dtype) -> None:
    """Entry by entry: special values at x = 0, tails, and beyond, where f is 1 or 0."""
    x = [-1e30, -20, -3, -1.5, -1, -1e-3, 0, 1e-9, 0.5, 1, 2, 4, 5, 8, 1e30]
    kT = 0.5
    H = torch.diag(torch.tensor(x, dtype=torch.float64) * kT).to(dtype)
    D = sg.density_matrix(H, mu=0.0, kT=kT, spin=1, smearing=smearing).diagonal().real.double()
    for ours, level in zip(D.tolist(), x):
        expected = float(SMEARINGS[smearing].occupation(mpmath.mpf(level))) if abs(level) < 1e10 else float(level < 0)
        assert abs(ours - expected) <= 4 * eps(dtype), level
        if 1 < level < 10:  # tails to relative precision: the condition of e^(-z²) is 2z²
            assert abs(ours / expected - 1) <= 200 * eps(dtype), level


@pytest.mark.parametrize("gap", [0, 1e-300, 1e-16, 1e-9, 1e-5, 1e-3, 0.1, 0.5, 1, 3, 30])
@pytest.mark.parametrize("centre", [-8.0, -2.5, -0.7, 0.0, 1e-3, 0.6, 1.3, 4.0, 12.0])
@each_width
def test_first_differences(smearing: SmearingName, centre: float, gap: float) -> None:
    """f[a, b], read from the derivative of D along the entry (0, 1) of a diagonal H."""
    a, b = centre, centre + gap
    H = torch.diag(torch.tensor([a, b], dtype=torch.float64)).requires_grad_()
    D = sg.density_matrix(H, mu=0.0, kT=1.0, spin=1, smearing=smearing)
    (G,) = torch.autograd.grad(D[1, 0], H)
    f = SMEARINGS[smearing].occupation
    with mpmath.workdps(400):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        step = (b - a) or mpmath.mpf(10) ** -100
        expected = float((f(a + step) - f(a)) / step)
        size = float(max(_gauss(_shifted(y) if smearing == "cold" else y) * (1 + y * y) for y in (a, b)))
        size = max(size / (1 + gap), abs(expected))
    # The condition of e^(-z²), with z that are rounded to eps.
    assert abs(2 * float(G[1, 0]) - expected) <= 8 * eps(torch.float64) * size * (1 + 2 * centre**2)


GAUSSIAN_LEVELS = {name: x for name, x in FERMI_LEVELS.items() if name not in ("kT = 1e-100", "hot")}


@pytest.mark.parametrize("name", GAUSSIAN_LEVELS)
def test_gaussian_level_to_the_last_digit(name: str) -> None:
    levels, electrons, kT, spin = GAUSSIAN_LEVELS[name]
    H = torch.diag(torch.tensor(levels, dtype=torch.float64))
    result = sg.density_matrix(H, electrons=electrons, kT=kT, spin=spin, smearing="gaussian", full_output=True)
    with mpmath.workdps(DIGITS):
        exact_levels = [mpmath.mpf(x) for x in levels]
        mu = chemical_potential(exact_levels, mpmath.mpf(electrons) / spin, mpmath.mpf(kT), "gaussian")
        miss = abs(mpmath.mpf(result.mu.item()) - mu)
        assert miss <= 2 * eps(torch.float64) * max(abs(mu), max(abs(x) for x in exact_levels))


@each_width
@pytest.mark.parametrize("kT", [1e-300, 1e-100, 1e-6, 1e-3])
def test_a_closed_shell_below_a_wide_gap_is_its_projector(smearing: SmearingName, kT: float) -> None:
    """Also with cold occupations, which have no root inside the gap: μ is near the middle of the gap, and finite."""
    H = graph_hamiltonian("benzene", torch.float64).requires_grad_()
    result = sg.density_matrix(H, electrons=6, kT=kT, smearing=smearing, full_output=True)
    assert abs(result.mu.item()) <= 0.01
    # Its derivative is that of the Gaussian μ: the mean of the projectors onto the frontier levels.
    (G,) = torch.autograd.grad(result.mu, H, retain_graph=True)
    assert bool(G.isfinite().all())
    assert abs(float(G.trace()) - 1) <= 1e-12
    projector = sg.density_matrix(H, electrons=6)
    assert error(result.density_matrix, projector.detach()) <= 1e-14
    assert abs(result.free_energy.item() + 8) <= 1e-13
    M = random_hermitian(6, 6, dtype=H.dtype, seed=3)
    ours, expected = (torch.autograd.grad(expectation(M, D), H)[0] for D in (result.density_matrix, projector))
    assert error(ours, expected) <= 1e-12


@pytest.mark.parametrize("smearing", ["methfessel-paxton", "cold"])
@pytest.mark.parametrize("seed", range(15))
def test_the_root_nearest_to_the_gaussian_one(smearing: SmearingName, seed: int) -> None:
    """Against a search over a fine grid, in another arithmetic."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 10))
    levels = np.sort(rng.uniform(-2, 2, n))
    if seed % 3 == 0:
        levels = np.sort(np.round(levels))
    electrons, kT = float(rng.uniform(0.02, n - 0.02)), float(10 ** rng.uniform(-1.5, 0))
    result = sg.density_matrix(
        torch.diag(torch.from_numpy(levels)), electrons=electrons, kT=kT, spin=1, smearing=smearing, full_output=True
    )
    with mpmath.workdps(DIGITS):
        exact_levels, filled, width = [mpmath.mpf(x) for x in levels], mpmath.mpf(electrons), mpmath.mpf(kT)
        near = chemical_potential(exact_levels, filled, width, "gaussian")
        expected = nearest_root(exact_levels, filled, width, smearing)
        ours = mpmath.mpf(result.mu.item())
        f = SMEARINGS[smearing].occupation
        # It is a root up to the rounding of μ, and the nearest one to the Gaussian root up to one step of the search.
        assert abs(sum(f((e - ours) / width) for e in exact_levels) - filled) <= 4e-15 * (1 + 2 / kT)
        assert abs(abs(ours - near) - abs(expected - near)) <= kT / 16
    assert abs(float(result.density_matrix.trace()) - electrons) <= 1e-13 * (1 + 1 / kT)


def test_a_metallic_level_in_closed_form() -> None:
    """One level of multiplicity m with m/2 electrons: f = 1/2 fixes x. It is 0, except for the cold smearing."""
    H = 0.3 * torch.eye(4, dtype=torch.float64)
    arguments: list[tuple[SmearingName, float | None]] = [("gaussian", 0.0), ("methfessel-paxton", 0.0), ("cold", None)]
    for smearing, x in arguments:
        result = sg.density_matrix(H, electrons=4, kT=0.2, smearing=smearing, full_output=True)
        if x is None:
            x = scipy.optimize.brentq(
                lambda x: (
                    scipy.special.erfc(x + 0.5**0.5) / 2 + np.exp(-((x + 0.5**0.5) ** 2)) / (2 * np.pi) ** 0.5 - 0.5
                ),
                -1,
                1,
                xtol=1e-15,
            )
        assert abs(float(result.mu) - (0.3 - 0.2 * x)) <= 1e-15
        assert error(result.density_matrix, torch.eye(4, dtype=H.dtype)) <= 1e-14
        assert abs(float(result.entropy) - 8 * float(SMEARINGS[smearing].entropy(mpmath.mpf(x)))) <= 1e-14


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@each_width
def test_smearings_commute_with_scaling(smearing: SmearingName, scale: float, dtype: torch.dtype) -> None:
    H = graph_hamiltonian("cube", dtype)
    M = random_hermitian(8, 8, dtype=dtype, seed=3)

    def both(factor: float) -> tuple[Any, Tensor]:
        X = (factor * H).requires_grad_()
        result = sg.density_matrix(X, electrons=7.3, kT=0.4 * factor, smearing=smearing, full_output=True)
        (G,) = torch.autograd.grad(expectation(M, result.density_matrix), X)
        return result, factor * G

    (one, G), (other, scaled) = both(1), both(scale)
    tolerance = by_precision(dtype, 1e-13, 2e-5)
    assert error(other.density_matrix, one.density_matrix.detach()) <= tolerance
    assert error(other.free_energy / scale, one.free_energy.detach()) <= tolerance
    assert error(other.mu / scale, one.mu.detach()) <= tolerance
    assert error(scaled, G) <= tolerance


@each_width
def test_smearings_take_empty_matrices_batches_and_transforms(smearing: SmearingName) -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        X = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        filling: dict[str, Any] = {"electrons": 2.0} if shape[-1] else {"mu": 0.5}
        result = sg.density_matrix(X, kT=0.1, smearing=smearing, full_output=True, **filling)
        assert result.density_matrix.shape == shape
        assert result.entropy.shape == shape[:-2]
        assert torch.autograd.grad(result.free_energy.sum(), X)[0].shape == shape
    Hs = torch.stack([(1 + k) * graph_hamiltonian("benzene", torch.float64) for k in range(3)])
    numbers = torch.tensor([6.0, 2.5, 11.0], dtype=torch.float64)

    def free_energy(H: Tensor, electrons: Tensor) -> Tensor:
        return sg.density_matrix(H, electrons=electrons, kT=0.3, smearing=smearing, full_output=True).free_energy

    result = sg.density_matrix(Hs, electrons=numbers, kT=0.3, smearing=smearing, full_output=True)
    mapped = torch.func.vmap(torch.func.grad(free_energy, argnums=(0, 1)))(Hs, numbers)
    assert error(mapped[0], result.density_matrix) <= 1e-13
    assert error(mapped[1], result.mu) <= 1e-13
    for k in range(3):
        alone = sg.density_matrix(Hs[k], electrons=numbers[k], kT=0.3, smearing=smearing)
        assert error(result.density_matrix[k], alone) <= 1e-14


# A smearing acts on real eigenvalues, so one of them stands for all in the complex case.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("smearing", "dtype"), [*((width, torch.float64) for width in WIDTHS), ("cold", torch.complex128)]
)
@pytest.mark.parametrize("fixed", ["electrons", "mu"])
def test_gradcheck_of_smearings(smearing: SmearingName, fixed: str, dtype: torch.dtype) -> None:
    inputs = [
        ring(3, dtype),
        *(torch.tensor(x, dtype=torch.float64) for x in (2.5 if fixed == "electrons" else 0.3, 0.6)),
    ]

    def fields(H: Tensor, given: Tensor, kT: Tensor) -> tuple[Tensor, ...]:
        filling: dict[str, Any] = {fixed: given}
        result = sg.density_matrix(hermitian_part(H), kT=kT, smearing=smearing, full_output=True, **filling)
        return tuple(x for x in result if x is not result.mu or fixed == "electrons")

    leaves = [x.requires_grad_() for x in inputs]
    assert gradcheck(fields, leaves, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
    assert gradgradcheck(fields, leaves, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("smearing", ["Fermi", "mp", None, 1, ["cold"]])
@pytest.mark.parametrize("kT", [0, 0.1])
def test_unknown_smearings_are_named_in_the_message(smearing: Any, kT: float) -> None:
    with pytest.raises(
        ValueError, match=r"spectralgrad\.density_matrix: Expected smearing to be one of 'fermi', .*but got"
    ):
        sg.density_matrix(torch.eye(2), electrons=2, kT=kT, smearing=smearing)
