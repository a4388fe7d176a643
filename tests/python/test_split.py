"""Split: the eigenvalues that it returns, and its warning about those that cross zero."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import spectralgrad as sg
from problems import ALL, REAL, eps, with_spectrum


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(
    "values",
    [[0, 0, 0, 1, 1, 2], [0, 0], [1e-9, 1.1e-9, 1], [-1e-9, 1, -1e-9]],
    ids=["kernel", "zero", "tiny", "negative"],
)
def test_split_reports_eigenvalues_that_cross_zero(values: list[float], dtype: torch.dtype) -> None:
    """Without the warning, code that clips or counts eigenvalues would silently be wrong."""
    A = torch.diag(torch.tensor(values, dtype=dtype))
    for decompose in (sg.eigh, sg.eigvalsh):
        with pytest.warns(
            sg.GaugeWarning, match=r"spectralgrad.Split: Matrix 1 of the batch has eigenvalues near zero"
        ):
            decompose(torch.stack([A + 5 * torch.eye(len(A), dtype=dtype), A]), rule=sg.Split())
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match="Split"):
        sg.eigh(A, rule=sg.Split())


def _clipped_log(A: Tensor) -> Tensor:
    L, V = torch.linalg.eigh(A)
    return ((V * L.clamp(min=1e-4).log()) @ V.mT)[2, 2]


def _rank(A: Tensor) -> Tensor:
    L = torch.linalg.eigvalsh(A)
    return (L.abs() > len(A) * eps(A.dtype) * L.abs().max()).sum()


def _largest_of_the_pseudo_inverse(A: Tensor) -> Tensor:
    L, V = torch.linalg.eigh(A)
    kept = L.abs() > len(A) * eps(A.dtype) * L.abs().max()
    return ((V * torch.where(kept, L.reciprocal(), 0)) @ V.mT).abs().max()


@pytest.mark.parametrize(
    ("program", "right", "under_split"),
    [
        (_clipped_log, math.log(1e-4), -7.278),
        (_rank, 3, 5),
        (_largest_of_the_pseudo_inverse, 1, eps(torch.float32) ** -0.5 / 2),
    ],
    ids=["clipped log", "rank", "pseudo-inverse"],
)
def test_split_warns_if_a_program_clips_or_counts_eigenvalues(
    program: Callable[[Tensor], Tensor], right: float, under_split: float
) -> None:
    """Split moves eigenvalues at zero apart, so they are no longer zero to round-off, and it warns."""
    A = torch.diag(torch.tensor([0.0, 0, 0, 1, 1, 2]))
    with sg.stand_in():
        assert float(program(A)) == pytest.approx(right, rel=1e-6)
    with sg.stand_in(sg.Split()), pytest.warns(sg.GaugeWarning, match="clips eigenvalues or counts"):
        assert float(program(A)) == pytest.approx(under_split, rel=1e-3)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("values", [[1, 1, 4], [0, 1, 1], [-2, -2, 0, 3], [1e-3, 1, 1]], ids=repr)
def test_split_is_silent_where_no_eigenvalue_crosses_zero(values: list[float], dtype: torch.dtype) -> None:
    A = torch.diag(torch.tensor(values, dtype=dtype))
    plain, moved = sg.eigvalsh(A), sg.eigvalsh(A, rule=sg.Split())
    assert not torch.equal(moved, plain)
    assert torch.equal(moved.sign(), plain.sign())


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=9),
    st.one_of(st.floats(1e-3, 0.3), st.none()),
    st.sampled_from([1, 2]),
    st.sampled_from(REAL),
)
def test_split_is_the_nearest_spectrum_with_gaps(
    values: list[float], width: float | None, order: int, dtype: torch.dtype
) -> None:
    """Against SciPy's isotonic regression of λ_i - i·w."""
    A = torch.diag(torch.tensor(values, dtype=dtype))
    plain = sg.eigvalsh(A)
    with sg.checks("ignore"):  # an eigenvalue may cross zero, which is tested above
        moved = sg.eigvalsh(A, rule=sg.Split(width, order)).double().numpy()
    levels = plain.double().numpy()
    n, largest = len(levels), float(plain.abs().max())
    relative = width if width is not None else eps(dtype) ** (1 / 2 if order == 1 else 1 / 3)
    w = relative * (largest or 1.0)
    ramp = np.arange(n) * w
    expected = scipy.optimize.isotonic_regression(levels - ramp).x + ramp
    rounding = 4 * n * eps(dtype) * max(largest, n * w)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=rounding)
    assert abs(moved.sum() - levels.sum()) <= n * rounding
    assert (np.diff(moved) >= w - rounding).all()
    # An eigenvalue that no cluster can reach when it is spread stays the same, to the bit.
    alone = np.abs(expected - levels) < 1e-3 * w
    gaps = np.diff(levels, prepend=-np.inf, append=np.inf)
    far = alone & (gaps[:-1] > n * w) & (gaps[1:] > n * w)
    assert (moved[far] == levels[far]).all()
    # An eigenvalue of a pool of m moves by at most (m - 1)/2 widths.
    pools = np.flatnonzero(np.diff(expected - ramp, prepend=-np.inf) > 1e-9 * w)
    for a, b in itertools.pairwise([*pools, n]):
        assert np.abs(moved[a:b] - levels[a:b]).max() <= (b - a - 1) / 2 * w + rounding


@pytest.mark.parametrize("dtype", ALL)
def test_split_default_widths(dtype: torch.dtype, device: str) -> None:
    A = with_spectrum([1, 1, 1, 3], dtype, 0).to(device)
    L = sg.eigvalsh(A)
    for order, power in ((1, 1 / 2), (2, 1 / 3)):
        moved, V = sg.eigh(A, rule=sg.Split(order=order))
        w = eps(dtype) ** power * float(L[-1])
        torch.testing.assert_close(moved[:3].diff(), torch.full_like(moved[:2], w), rtol=0, atol=8 * eps(dtype))
        assert moved[3] == sg.eigh(A).eigenvalues[3]
        assert torch.equal(V, sg.eigh(A).eigenvectors)


def test_compiled_code_follows_a_rule_entered_for_the_first_time_in_its_thread() -> None:
    """The test runs in a new thread, in which no block has been entered before; this must not matter."""
    A = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))
    seen: list[float] = []

    def compiled_first() -> None:
        torch._dynamo.reset()
        split = torch.compile(lambda X: sg.eigvalsh(X), backend="eager", fullgraph=True)
        seen.append(float(split(A)[0]))
        with sg.use_rule(sg.Split(1.0)):
            seen.append(float(split(A)[0]))

    thread = threading.Thread(target=compiled_first)
    thread.start()
    thread.join()
    assert seen == [1.0, 0.5]
