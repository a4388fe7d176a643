"""Rigid alignment of point clouds: values, and derivatives against 60 digits, of symmetric and degenerate clouds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import polar_reference as exact
import spectralgrad as sg
from problems import REAL, by_precision, normal

OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)]).double()
CUBE = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
TETRAHEDRON = CUBE[CUBE.prod(-1) > 0]
PLANE = torch.tensor([[1.0, 0, 0], [0, 2, 0], [-1, 0.5, 0], [0, -1, 0]], dtype=torch.float64)
LINE = torch.tensor([[0.0, 0, 1], [0, 0, 2], [0, 0, 4]], dtype=torch.float64)
CLOUDS = {
    "octahedron": OCTAHEDRON,
    "cube": CUBE,
    "tetrahedron": TETRAHEDRON,
    "plane": PLANE,
    "random": normal(7, 3, dtype=torch.float64, seed=8),
    "16-cell in 4D": torch.cat([torch.eye(4), -torch.eye(4)]).double(),
    "square in 2D": PLANE.new_tensor([[1, 0], [0, 1], [-1, 0], [0, -1]]),
}
each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)


def rotation(d: int, seed: int = 1) -> Tensor:
    Q = torch.linalg.qr(normal(d, d, dtype=torch.float64, seed=seed)).Q
    Q[:, 0] *= torch.linalg.det(Q)
    return Q


def moved(cloud: Tensor, scale: float = 1.5) -> tuple[Tensor, Tensor, Tensor]:
    d = cloud.shape[-1]
    Q, shift = rotation(d), torch.arange(1.0, d + 1, dtype=torch.float64)
    return Q, shift, scale * cloud @ Q.mT + shift


@pytest.mark.parametrize("dtype", REAL)
@each_cloud
def test_recovers_a_motion(cloud: Tensor, dtype: torch.dtype) -> None:
    Q, shift, target = moved(cloud)
    tolerance = by_precision(dtype, 1e-13, 1e-5)
    weights = torch.linspace(0.5, 2, len(cloud), dtype=dtype)
    for w in (None, weights):
        R, t, scale = sg.rigid_alignment(cloud.to(dtype), target.to(dtype), weights=w, scale=True)
        for value, expected in ((R, Q), (t, shift), (scale, torch.tensor(1.5))):
            torch.testing.assert_close(value, expected.to(dtype), rtol=0, atol=tolerance)


def test_is_scipys_rotation() -> None:
    source, target = (normal(6, 3, dtype=torch.float64, seed=s) for s in (1, 2))
    weights = torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    R, t, scale = sg.rigid_alignment(source, target, weights=weights)
    a, b = ((weights[:, None] * x).sum(0) / weights.sum() for x in (source, target))
    expected, _ = Rotation.align_vectors(target - b, source - a, weights=weights)
    torch.testing.assert_close(R, torch.from_numpy(expected.as_matrix()), rtol=0, atol=1e-13)
    torch.testing.assert_close(t, b - R @ a)
    assert scale == 1


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("mirrored", [False, True])
@each_cloud
def test_derivatives(cloud: Tensor, mirrored: bool, dtype: torch.dtype) -> None:
    target = moved(cloud)[2] + 0.01 * normal(*cloud.shape, dtype=torch.float64, seed=3)
    weights = torch.ones(len(cloud), dtype=torch.float64)
    if mirrored:  # symmetric clouds have many best rotations onto their mirror image
        weights = weights + torch.rand(len(cloud), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        weights[-1] = 0.0
        target[:, 0] *= -1
    x = [y.to(dtype) for y in (cloud, target if mirrored else moved(cloud)[2], weights)]

    def align(source: Tensor, target: Tensor, weights: Tensor) -> Any:
        return sg.rigid_alignment(source, target, weights=weights, scale=True)

    results = align(*x)
    torch.testing.assert_close(torch.linalg.det(results.rotation), torch.ones((), dtype=dtype))
    E, F = ([normal(*y.shape, dtype=y.dtype, seed=s + i) for i, y in enumerate(x)] for s in (10, 20))
    M = [normal(*y.shape, dtype=y.dtype, seed=30 + i) for i, y in enumerate(results)]
    expected = exact.derivatives(exact.rigid_alignment, x, M, E, F)
    for value, wanted in zip(exact.computed(align, x, M, E, F), expected, strict=True):
        assert abs(value - wanted) <= by_precision(dtype, 1e-11, 2e-3) * max(1, abs(wanted))


@pytest.mark.parametrize("cloud", [OCTAHEDRON, PLANE], ids=["octahedron", "plane"])
def test_gradcheck(cloud: Tensor) -> None:
    target = moved(cloud)[2].requires_grad_()
    source, weights = cloud.clone().requires_grad_(), torch.ones(len(cloud), dtype=torch.float64, requires_grad=True)

    def align(source: Tensor, target: Tensor, weights: Tensor) -> Any:
        return sg.rigid_alignment(source, target, weights=weights, scale=True)

    assert gradcheck(align, (source, target, weights), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(align, (source, target, weights), check_fwd_over_rev=True)


def test_batches_broadcast() -> None:
    targets = torch.stack([moved(CUBE, scale)[2] for scale in (1.0, 2.0)])
    R, t, scale = sg.rigid_alignment(CUBE, targets, scale=True)
    assert R.shape == (2, 3, 3)
    assert t.shape == (2, 3)
    torch.testing.assert_close(scale, torch.tensor([1.0, 2.0], dtype=torch.float64))


# --- rotations that are not unique -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud", [LINE, LINE * 0 + 0.1, LINE[:1]], ids=["collinear", "coincident", "one point"])
def test_a_free_rotation_is_reported_if_the_loss_sees_it(cloud: Tensor) -> None:
    target = cloud + torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    source = cloud.clone().requires_grad_()
    R, t, _ = sg.rigid_alignment(source, target)
    M = normal(3, 3, dtype=torch.float64, seed=1)
    message = (
        r"spectralgrad\.rigid_alignment: The loss depends on the rotation, which is not unique, so it has no gradient "
        r"there \(the sum of singular values . and ., with the sign of the determinant on the last one, of matrix 0 of "
        r"the batch is 0\)\. Points that are collinear or coincident leave it free"
    )
    with pytest.warns(sg.GaugeWarning, match=message):
        (gradient,) = torch.autograd.grad((R * M).sum(), source, retain_graph=True)
    assert gradient.isfinite().all()
    aligned = source @ R.mT + t
    with sg.checks("raise"):
        (gradient,) = torch.autograd.grad((aligned - target).square().sum(), source)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("distance", [0.0, 1e3])
@pytest.mark.parametrize("unit", [1.0, 1e20, 1e-20])
def test_round_off_of_distant_points_is_no_cloud(dtype: torch.dtype, distance: float, unit: float) -> None:
    """Far from the origin, deviations have the round-off of the distance."""
    line = rotation(3)[:1] * torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    M = normal(3, 3, dtype=dtype, seed=1)
    for cloud in (line, CUBE * 0 + 0.1):
        points = unit * (cloud + distance * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        source, target = (x.to(dtype) for x in (points, 1.5 * points @ rotation(3, 7).mT))
        source.requires_grad_()
        R, t, scale = sg.rigid_alignment(source, target, scale=True)
        assert abs(scale.item() - (1.5 if cloud is line else 1)) < 1e-6 * (1 + distance)
        with pytest.warns(sg.GaugeWarning, match="rotation, which is not unique"):
            (gradient,) = torch.autograd.grad((R * M).sum(), source, retain_graph=True)
        assert (unit * gradient).abs().max() < 10
        if cloud is line:
            with sg.checks("raise"):
                R, t, _ = sg.rigid_alignment(source, target)
                loss = ((source @ R.mT + t - target) / unit).square().sum()
                (gradient,) = torch.autograd.grad(loss, source)
            # Moving a point outwards by 1 moves it 0.5 closer to its target.
            centered = cloud - cloud.mean(0)
            tolerance = torch.finfo(dtype).eps * 100 * (1 + distance)
            torch.testing.assert_close(unit * gradient, -centered.to(dtype), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("unit", [1e20, 1e-20])
def test_scaling(dtype: torch.dtype, unit: float) -> None:
    """Products of such points overflow or underflow in float32."""
    results, gradients = [], []
    M = normal(3, 3, dtype=dtype, seed=1)
    for factor in (1.0, unit):
        leaves = [(factor * x).to(dtype).requires_grad_() for x in (OCTAHEDRON, moved(OCTAHEDRON)[2], torch.ones(6))]
        R, t, scale = sg.rigid_alignment(leaves[0], leaves[1], weights=leaves[2], scale=True)
        results.append(torch.cat([R.flatten(), t / factor, scale[None]]))
        loss = (R * M).sum() + (t / factor).sum() + scale
        gradients.append([factor * x for x in torch.autograd.grad(loss, leaves)])
    tolerance = by_precision(dtype, 1e-13, 1e-5)
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)
    for value, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def test_a_bad_cloud_does_not_disturb_the_others() -> None:
    source, target = (normal(3, 6, 3, dtype=torch.float64, seed=s) for s in (1, 2))
    expected = sg.rigid_alignment(source, target, scale=True)
    source[1, 2, 0] = torch.nan
    with sg.checks("ignore"):
        found = sg.rigid_alignment(source, target, scale=True)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x[::2], y[::2])
        assert x[1].isnan().all()
    message = r"alignment: \(Batch element 1\): Expected source to be finite, but the entry \(2, 0\) is nan"
    with pytest.raises(torch.linalg.LinAlgError, match=message):  # type: ignore[attr-defined]
        sg.rigid_alignment(source, target)


def test_empty_batch_and_no_weight() -> None:
    x = torch.zeros(0, 4, 3, requires_grad=True)
    R, t, scale = sg.rigid_alignment(x, x, scale=True)
    assert (R.shape, t.shape, scale.shape) == ((0, 3, 3), (0, 3), (0,))
    R.sum().backward()
    R, t, scale = sg.rigid_alignment(CUBE, CUBE, weights=torch.zeros(8, dtype=torch.float64), scale=True)
    assert R.isfinite().all()
    assert t.isfinite().all()
    assert scale == 1


def test_arguments_are_checked() -> None:
    public: Any = sg  # the calls have wrong types
    linalg: Any = torch.linalg
    x = torch.ones(4, 3)
    calls: list[tuple[Any, type[Exception], str]] = [
        (
            lambda: public.rigid_alignment(x, None),
            TypeError,
            r"alignment: Expected target to be a Tensor, but got NoneType",
        ),
        (lambda: public.rigid_alignment(x, x, weights=1), TypeError, r"Expected weights to be a Tensor, but got int"),
        (lambda: public.rigid_alignment(x, x, scale=1), TypeError, r"Expected scale to be a bool, but got int"),
        (
            lambda: public.rigid_alignment(x[0], x),
            RuntimeError,
            r"The input tensor source must have at least 2 dimensions",
        ),
        (
            lambda: public.rigid_alignment(x, x[:2]),
            ValueError,
            r"Expected source and target to have as many points of one dimension, but they are 4 by 3 and 2 by 3",
        ),
        (
            lambda: public.rigid_alignment(x, x.double()),
            ValueError,
            r"Expected source, target and weights to have one dtype",
        ),
        (
            lambda: public.rigid_alignment(x.to(torch.complex64), x),
            ValueError,
            r"Expected source to be float32 or float64, but got",
        ),
        (
            lambda: public.rigid_alignment(x, x, weights=x[:2, 0]),
            ValueError,
            r"Expected weights to be \(\*, n\), one for each point, but there are 4 points, and the weights have shape",
        ),
        (
            lambda: public.rigid_alignment(x[:0], x[:0]),
            ValueError,
            r"rigid_alignment: Expected at least one point of at least one dimension, but the clouds are 0 by 3",
        ),
        (
            lambda: public.rigid_alignment(x, x, weights=torch.tensor([1.0, 0.0, -2.0, 1.0])),
            ValueError,
            r"rigid_alignment: Expected weights to be finite and not negative, but weight 2 is -2",
        ),
        (
            lambda: public.rigid_alignment(x, x / 0),
            linalg.LinAlgError,
            r"rigid_alignment: Expected target to be finite, but the entry \(0, 0\) is inf",
        ),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()
