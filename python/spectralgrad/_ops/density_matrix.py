from __future__ import annotations

from numbers import Real
from typing import Any, Literal, NamedTuple, cast, overload

import torch
from torch import Tensor

from ._arguments import autocast, check_dense, from_iterable, overridable
from ._batching import register_batching

register_batching("hermitian", "chemical_potential", "fill_levels", "density_matrix", "density_matrix_full")

_FUNCTION = "spectralgrad.density_matrix"


@from_iterable
class DensityMatrixResult(NamedTuple):
    """What `density_matrix` returns with ``full_output=True``; quantities are ``(*)``."""

    density_matrix: Tensor
    """D = spin·C f Cᴴ ``(*, n, n)``."""
    mu: Tensor
    """The chemical potential; at zero temperature the middle of the gap, and then not differentiable."""
    energy: Tensor
    """tr(D H) = spin Σ ε f."""
    entropy: Tensor
    """-spin Σ f ln f + (1 - f) ln(1 - f), in units of Boltzmann's constant."""
    free_energy: Tensor
    """energy - kT·entropy."""
    energy_weighted_density_matrix: Tensor
    """spin·C ε f Cᴴ ``(*, n, n)``."""


def _quantity(name: str, value: Any, H: Tensor) -> Tensor | None:
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{_FUNCTION}: Expected {name} to be real, but got {value.dtype}")
        return value.to(device=H.device, dtype=H.real.dtype)
    if isinstance(value, bool) or not isinstance(value, Real | torch.SymInt | torch.SymFloat):
        raise TypeError(f"{_FUNCTION}: Expected {name} to be a real number or a Tensor, but got {type(value).__name__}")
    # Of H, as tensors of their own are lost where torch.export meets torch.func.
    return H.real.new_full((), cast("float", value))


@overload
def density_matrix(
    H: Tensor,
    *,
    electrons: float | Tensor | None = None,
    mu: float | Tensor | None = None,
    kT: float | Tensor = 0.0,
    overlap: Tensor | None = None,
    spin: float = 2,
    full_output: Literal[False] = False,
) -> Tensor: ...
@overload
def density_matrix(
    H: Tensor,
    *,
    electrons: float | Tensor | None = None,
    mu: float | Tensor | None = None,
    kT: float | Tensor = 0.0,
    overlap: Tensor | None = None,
    spin: float = 2,
    full_output: Literal[True],
) -> DensityMatrixResult: ...
@overridable
def density_matrix(
    H: Tensor,
    *,
    electrons: float | Tensor | None = None,
    mu: float | Tensor | None = None,
    kT: float | Tensor = 0.0,
    overlap: Tensor | None = None,
    spin: float = 2,
    full_output: bool = False,
) -> Tensor | DensityMatrixResult:
    """The one-particle density matrix D = spin·f((H - μ)/kT), f(x) = 1/(1 + eˣ), exact where levels meet.

    Derivatives in `H`, `overlap`, `electrons` or `mu`, and `kT`, to second order, with every transform of torch.func,
    forward-mode AD and torch.compile. At a fixed number of electrons μ is solved to the last digits and differentiated
    implicitly.

    Args:
        H: ``(*, n, n)`` symmetric or Hermitian, float32, float64, complex64 or complex128. Only the lower triangle is
            read.
        electrons: how many there are, between 0 and spin·n; or
        mu: their chemical potential: one of the two.
        kT: the temperature times Boltzmann's constant, in the units of `H`. At 0, the number, D is spin times the
            projector onto the filled levels; a single level is filled in part if need be, or half if it is at `mu`.
        overlap: S ``(*, n, n)``, positive definite, of a basis that is not orthonormal: H C = S C ε, CᴴSC = 1, D =
            spin·C f Cᴴ.
        spin: how many electrons an orbital holds.
        full_output: to return a `DensityMatrixResult` instead of D alone.

    `electrons`, `mu` and `kT` are numbers or tensors; all shapes broadcast to the batch ``(*)``.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`, for `H` and `overlap`.
        torch.linalg.LinAlgError: where `overlap` is not positive definite; at zero temperature, where the Fermi level
            cuts a repeated level, so that there is no ground state to speak of.
        TypeError, ValueError: where not just one of `electrons` and `mu` is given, or a number is out of its range. At
            kT > 0, 0 < electrons < spin·n.

    Mermin (1965), Phys. Rev. 137, A1441. The derivatives are those of `funm`, and of μ by the implicit function
    theorem. A tensor of temperatures may not hold a zero. Where whole levels are filled below a gap so wide that
    exp(-gap/2kT) underflows, the derivative in `electrons` is NaN.

    Example::

        >>> H = torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)  # hydrogen
        >>> F = sg.density_matrix(H, electrons=2, kT=0.05, full_output=True).free_energy
        >>> torch.autograd.grad(F, H)[0]  # its gradient is the density matrix
        tensor([[1.0000, 1.0000],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    check_dense("density_matrix", H, "H")
    H = autocast(H)
    if (electrons is None) == (mu is None):
        raise ValueError(
            f"{_FUNCTION}: Expected one of electrons and mu, but got {'neither' if electrons is None else 'both'}"
        )
    if isinstance(spin, bool) or not isinstance(spin, Real) or not 0 < spin < float("inf"):
        raise ValueError(f"{_FUNCTION}: Expected spin to be a positive number, but got {spin!r}")
    if not isinstance(kT, Tensor):
        if isinstance(kT, bool) or not isinstance(kT, Real):
            raise TypeError(f"{_FUNCTION}: Expected kT to be a real number or a Tensor, but got {type(kT).__name__}")
        if not 0 <= kT < float("inf"):
            raise ValueError(f"{_FUNCTION}: Expected kT to be at least 0, and finite, but got {kT}")
    if overlap is not None:
        check_dense("density_matrix", overlap, "overlap")
        overlap = autocast(overlap)
        if H.dim() >= 2 and overlap.dim() >= 2 and (overlap.shape[-1] != H.shape[-1] or overlap.dtype != H.dtype):
            raise RuntimeError(
                f"{_FUNCTION}: Expected overlap to be of the size and dtype of H, but they are {overlap.shape[-1]} and "
                f"{H.shape[-1]}, {overlap.dtype} and {H.dtype}"
            )
    quantities = [
        _quantity(name, value, H)
        for name, value in (("electrons", electrons), ("mu", mu), ("kT", kT if isinstance(kT, Tensor) or kT else None))
    ]
    arguments = _broadcast(H, quantities, overlap)
    if full_output:
        return DensityMatrixResult(*torch.ops.spectralgrad.density_matrix_full.default(*arguments, float(spin)))
    D: Tensor = torch.ops.spectralgrad.density_matrix.default(*arguments, float(spin))
    return D


def _broadcast(H: Tensor, quantities: list[Tensor | None], overlap: Tensor | None) -> tuple[Tensor | None, ...]:
    """All with the same batch: under vmap operators cannot tell the mapped dimension from one that is to broadcast."""
    batches = [x.shape[:-2] for x in (H, overlap) if x is not None] + [x.shape for x in quantities if x is not None]
    try:
        batch = torch.broadcast_shapes(*batches)
    except RuntimeError:
        raise RuntimeError(
            f"{_FUNCTION}: Expected batches that broadcast, but they are {', '.join(str(list(b)) for b in batches)}"
        ) from None

    def matrix(M: Tensor | None) -> Tensor | None:
        return None if M is None else M.expand(*batch, *M.shape[-2:])

    return (matrix(H), *(None if x is None else x.expand(batch) for x in quantities), matrix(overlap))
