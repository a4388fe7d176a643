from __future__ import annotations

import pytest
import torch

import spectralgrad as sg
from problems import ALL, with_spectrum


@pytest.mark.parametrize("dtype", ALL)
def test_value_and_gradient(dtype: torch.dtype) -> None:
    A = with_spectrum([0.0, 1.0, 1.0], dtype, seed=0).requires_grad_()
    y = sg.purity(A)
    y.backward()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y, (A.conj() * A).real.sum(), rtol=0, atol=16 * eps)
    torch.testing.assert_close(A.grad, 2 * A, rtol=0, atol=16 * eps)


def test_messages() -> None:
    with pytest.raises(TypeError, match=r"^spectralgrad\.purity: Expected A to be a Tensor, but got int$"):
        sg.purity(1)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"^spectralgrad\.purity: .*square"):
        sg.purity(torch.ones(2, 3))
