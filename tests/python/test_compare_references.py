"""The comparison's losses, graphs and functions of a matrix: their references against closed forms and differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from spectralgrad import _high_precision as reference
from spectralgrad.compare import functions, graphs, sweep
from spectralgrad.compare.loss import EIGH, Parameters
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import numpy_peer
from spectralgrad.compare.problems import Problem, References

# Losses of one eigenvalue or eigenvector.
_SINGLE = ("eigenvalue", "separated_vector", "near_vector")


def _hermitian(n: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    return sweep.hermitian_part(sweep.gaussian(rng, (n, n), kind))


def _parameters(name: str, n: int, start: int, kind: str, rng: np.random.Generator) -> Parameters:
    arrays = {"M": _hermitian(n, kind, rng), "y": sweep.gaussian(rng, (n,), kind)}
    return Parameters(start, start + (1 if name in _SINGLE else 2), arrays)


LOSSES_OF_EIGH = [name for name, loss in LOSSES.items() if loss.task == EIGH]


@pytest.mark.parametrize("kind", sweep.KINDS)
@pytest.mark.parametrize("name", LOSSES_OF_EIGH)
def test_exact_gradients_belong_to_the_losses(name: str, kind: str) -> None:
    """Against central differences of the loss itself, in 60 digits: their error is the step squared."""
    n, loss = 4, LOSSES[name]
    rng = np.random.default_rng(5)
    matrix = _hermitian(n, kind, rng)
    p = _parameters(name, n, 1, kind, rng)
    direction = _hermitian(n, kind, rng)
    spectrum = reference.eigh_mp(matrix)
    with reference.working_precision():
        exact = reference.gradient(spectrum, loss.weights(spectrum.values, p), loss.matrix(p)).to_mpmath()
        derivative = mpmath.re(np.sum(np.conj(exact) * direction))
        step = mpmath.mpf(2) ** -60
        high, low = (_loss_in_mpmath(name, matrix + sign * step * direction, p) for sign in (1, -1))
        assert abs((high - low) / (2 * step) - derivative) < 1e-30 * (1 + abs(derivative))


class _MpmathOperations:
    adjoint = staticmethod(lambda x: np.conj(x.T))
    conj = staticmethod(np.conj)
    exp = staticmethod(lambda x: np.array([mpmath.exp(y) for y in x], dtype=object))
    real = staticmethod(mpmath.re)
    sum = staticmethod(np.sum)
    scale_columns = staticmethod(lambda x, weights: x * weights)


def _loss_in_mpmath(name: str, matrix: np.ndarray, p: Parameters) -> mpmath.mpf:
    solve = mpmath.eighe if any(isinstance(x, mpmath.mpc) for x in matrix.ravel()) else mpmath.eigsy
    values, vectors = solve(mpmath.matrix(matrix.tolist()))
    return LOSSES[name].value(
        _MpmathOperations(), matrix, np.array(list(values), dtype=object), np.array(vectors.tolist(), dtype=object), p
    )


@pytest.mark.parametrize("kind", sweep.KINDS)
@pytest.mark.parametrize("name", LOSSES_OF_EIGH)
def test_numpys_cotangents_belong_to_the_losses(name: str, kind: str) -> None:
    """At distinct eigenvalues the textbook formula is right to round-off, so a wrong cotangent would show."""
    n, rng = 5, np.random.default_rng(6)
    matrix = sweep.matrix_with_cluster(n, "1", kind, rng)
    p = _parameters(name, n, 3, kind, rng)
    problem = Problem("p", name, matrix[None], p, ["1"])
    (computed,) = numpy_peer.create().gradients("", LOSSES[name], problem.matrices, p)
    exact = References().exact(problem)[0].gradient
    assert exact is not None
    assert reference.relative_error(computed, exact) < 1e-13


def test_an_exactly_repeated_eigenvalue_has_no_reference_derivative() -> None:
    matrix = np.diag([1.0, 1.0, 3.0])
    (exact,) = References().exact(Problem("p", "eigenvalue", matrix[None], Parameters(0, 1), ["exact"]))
    assert exact.gradient is None
    assert exact.why_not == "no derivative: the eigenvalue is repeated exactly"


def test_fullerene_is_a_truncated_icosahedron() -> None:
    graph = graphs.truncated_icosahedron()
    assert graph.number_of_nodes() == 60
    assert graph.number_of_edges() == 90
    assert {degree for _, degree in graph.degree} == {3}
    assert sum(kind == "6-6" for *_, kind in graph.edges(data="kind")) == 30


@pytest.mark.parametrize("graph", graphs.all_graphs(), ids=lambda graph: graph.name.split(",")[0])
def test_levels_belong_to_the_matrix(graph: graphs.Graph) -> None:
    levels = [float(level) for level, multiplicity in graph.levels() for _ in range(multiplicity)]
    np.testing.assert_allclose(levels, np.linalg.eigvalsh(graph.matrix), atol=1e-13)
    # The occupied states are whole levels.
    assert graph.occupied in np.cumsum([multiplicity for _, multiplicity in graph.levels()])


def test_fullerenes_highest_occupied_level_is_fivefold() -> None:
    fullerene = next(graph for graph in graphs.all_graphs() if graph.name.startswith("C60"))
    filled = np.cumsum([multiplicity for _, multiplicity in fullerene.levels()]).tolist()
    highest = filled.index(fullerene.occupied)
    level, multiplicity = fullerene.levels()[highest]
    assert multiplicity == 5  # h_u
    assert float(level) == pytest.approx(-(5**0.5 - 1) / 2)
    assert fullerene.levels()[highest + 1][1] == 3  # t1u


def test_bond_orders_agree_with_textbooks() -> None:
    closed = graphs.ClosedForms()
    orders = {
        graph.name.split(",")[0]: 2 * closed.occupied_projector(graph).to_numpy()[graph.bond]
        for graph in graphs.all_graphs()[:2]
    }
    assert orders["benzene"] == pytest.approx(2 / 3, abs=1e-15)
    assert orders["C60"] == pytest.approx(0.601, abs=5e-4)


@pytest.mark.parametrize("name", ["benzene, Hückel", "Petersen, Laplacian"])
def test_two_references_agree(name: str) -> None:
    """Polynomials in the matrix and eigenvectors are two methods without a common step; both have 60 digits."""
    graph = next(graph for graph in graphs.all_graphs() if graph.name == name)
    closed = graphs.ClosedForms()
    spectrum = reference.eigh_mp(graph.matrix)
    for problem in graphs.problems((name,)):
        loss, p = LOSSES[problem.loss], problem.parameters
        with reference.working_precision():
            by_vectors = reference.gradient(spectrum, loss.weights(spectrum.values, p), loss.matrix(p))
            by_levels = closed.gradient(graph, problem.loss, p)
        assert (by_vectors - by_levels).magnitude() < -200  # 2^-200 = 1e-60


_SPECTRA = [(functions.SEPARATED, ""), (functions.NEAR, "1e-8"), (functions.CLUSTER, functions.EXACT)]


@pytest.mark.parametrize("name", functions.FUNCTIONS)
@pytest.mark.parametrize("family", _SPECTRA, ids=lambda family: family[0])
def test_second_derivatives_belong_to_the_loss(name: str, family: tuple[str, str]) -> None:
    """Against central differences of the exact gradient D f(A)[f(A) - M], in 60 digits."""
    n, function = 3, functions.FUNCTIONS[name]
    rng = np.random.default_rng(7)
    matrix = functions.matrix(*family, n, rng)
    m, e = (_hermitian(n, "symmetric", rng) for _ in range(2))

    def gradient(a: np.ndarray) -> np.ndarray:
        values, vectors = mpmath.eigsy(mpmath.matrix(a.tolist()))
        v = np.array(vectors.tolist(), dtype=object)
        x = np.diag([function.f(value) for value in values]) - v.T @ m @ v
        return v @ (reference.function_weights(list(values), function.f, function.df) * x) @ v.T

    exact = functions.hessian_product(reference.eigh_mp(matrix), function, m, e).to_numpy()
    with reference.working_precision():
        step = mpmath.mpf(10) ** -15
        high, low = (gradient(matrix + sign * step * e) for sign in (1, -1))
        differences = ((high - low) / (2 * step)).astype(float)
    np.testing.assert_allclose(exact, differences, rtol=0, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("name", functions.FUNCTIONS)
@pytest.mark.parametrize("label", ["1e-4", "1e-12"])
def test_second_derivatives_have_their_digits(name: str, label: str) -> None:
    """Against the plain quotients in 150 digits, where division by a small gap loses only digits that do not matter."""
    n, function = 4, functions.FUNCTIONS[name]
    rng = np.random.default_rng(8)
    matrix = functions.matrix(functions.CLUSTER, label, n, rng)
    m, e = (_hermitian(n, "symmetric", rng) for _ in range(2))
    computed = functions.hessian_product(reference.eigh_mp(matrix), function, m, e)
    with mpmath.workdps(150):
        values, vectors = mpmath.eigsy(mpmath.matrix(matrix.tolist()))
        v = np.array(vectors.tolist(), dtype=object)
        m, e = (v.T @ array @ v for array in (m, e))
        x = np.diag([function.f(value) for value in values]) - m

        def once(a: int, b: int) -> mpmath.mpf:
            if a == b:
                return function.df(values[a])
            return (function.f(values[a]) - function.f(values[b])) / (values[a] - values[b])

        def twice(a: int, b: int, c: int) -> mpmath.mpf:
            if a == b == c:
                return function.d2f(values[a]) / 2
            if a == c:
                b, c = c, b
            return (once(a, b) - once(b, c)) / (values[a] - values[c])

        product = np.array([[once(i, j) ** 2 * e[i, j] for j in range(n)] for i in range(n)])
        for i, k, j in np.ndindex(n, n, n):
            product[i, j] += twice(i, k, j) * (x[i, k] * e[k, j] + e[i, k] * x[k, j])
        expected = v @ product @ v.T
        errors = abs(computed.to_mpmath() - expected)
        assert errors.max() < 1e-70 * abs(expected).max()


@pytest.mark.parametrize("family", functions.FAMILIES)
def test_spectra_have_the_properties_of_their_family(family: str) -> None:
    label = "1e-4" if family in functions.WITH_GAPS else ""
    values = np.linalg.eigvalsh(functions.matrix(family, label, 8, np.random.default_rng(0)))
    gaps = np.diff(values) / values[-1]
    near = {functions.SEPARATED: 0, functions.UNITS: 3, functions.CLUSTER: 3, functions.NEAR: 7, functions.IDENTITY: 7}
    assert np.count_nonzero(gaps < 2e-4) == near[family]
    assert values[0] > 0
