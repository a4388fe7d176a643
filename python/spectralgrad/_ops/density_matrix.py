from __future__ import annotations

from numbers import Real
from typing import Any, Literal, NamedTuple, cast, get_args, overload

import torch
from torch import Tensor

from ._arguments import autocast, check_dense, from_iterable, overridable

_FUNCTION = "spectralgrad.density_matrix"

Smearing = Literal["fermi", "gaussian", "methfessel-paxton", "cold"]


@from_iterable
class DensityMatrixResult(NamedTuple):
    """The result of `density_matrix` with ``full_output=True``. Quantities are ``(*)``."""

    density_matrix: Tensor
    """D = spin·C f Cᴴ ``(*, n, n)``."""
    mu: Tensor
    """The chemical potential. At zero temperature it is the middle of the gap, and not differentiable."""
    energy: Tensor
    """tr(D H) = spin Σ ε f."""
    entropy: Tensor
    """spin Σ s, in units of Boltzmann's constant, with the entropy s of the smearing."""
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
    # Created from H, because torch.export loses new tensors inside torch.func.
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
    smearing: Smearing = "fermi",
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
    smearing: Smearing = "fermi",
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
    smearing: Smearing = "fermi",
    full_output: bool = False,
) -> Tensor | DensityMatrixResult:
    """The one-particle density matrix D = spin·f((H - μ)/kT), where f are the occupations of a smearing.

    Derivatives with respect to `H`, `overlap`, `electrons` or `mu`, and `kT`, to third order, are exact at degenerate
    levels. They work with every transform of torch.func, forward-mode AD and torch.compile. At a fixed number of
    electrons, μ is solved to the last digits and differentiated implicitly.

    Args:
        H: ``(*, n, n)`` symmetric or Hermitian, float32, float64, complex64 or complex128. Only the lower triangle is
            read.
        electrons: the number of electrons, between 0 and spin·n. Give either `electrons` or `mu`.
        mu: the chemical potential.
        kT: the temperature times Boltzmann's constant, or the width of another smearing, in the units of `H`. If it is
            the number 0, D is spin times the projector onto the filled levels, and all smearings are the same.
        overlap: S ``(*, n, n)``, positive definite, of a basis that is not orthonormal: H C = S C ε, CᴴSC = 1, D =
            spin·C f Cᴴ.
        spin: the number of electrons that an orbital holds.
        smearing: the shape of the occupations, which fall from 1 to 0 around μ. Each has an entropy s, and D is the
            gradient of the free energy tr(D H) - kT·spin·Σ s at a fixed number of electrons. With x = (ε - μ)/kT:

            - ``"fermi"``: f = 1/(1 + eˣ), s = -(f ln f + (1 - f) ln(1 - f))
            - ``"gaussian"``: f = erfc(x)/2, s = exp(-x²)/(2√π)
            - ``"methfessel-paxton"``, of order 1: f = erfc(x)/2 - x exp(-x²)/(2√π), s = (1 - 2x²) exp(-x²)/(4√π)
            - ``"cold"``: f = erfc(z)/2 + exp(-z²)/√(2π), s = z exp(-z²)/√(2π), z = x + 1/√2
        full_output: to return a `DensityMatrixResult` instead of D alone.

    `electrons`, `mu` and `kT` are numbers or tensors; all shapes broadcast to the batch ``(*)``.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`, for `H` and `overlap`.
        torch.linalg.LinAlgError: `overlap` is not positive definite.
        TypeError, ValueError: none or both of `electrons` and `mu` are given, or a number is out of its range. At
            kT > 0, 0 < electrons < spin·n.
        GaugeError: under ``checks("raise")``, instead of the warning that is described below.

    **Open shells at kT = 0.** All copies of a level that is partly filled get the same fraction, whatever its
    multiplicity: two electrons of spin 1 give 2/3 to each of three equal levels. A level at a given `mu` is half
    filled. Derivatives are those along perturbations that do not split that level. No derivative exists if the block of
    a loss or a perturbation inside the level is not a multiple of the identity. A `GaugeWarning` reports this, and that
    part is left out.

    **Several μ.** Occupations of ``"methfessel-paxton"`` and ``"cold"`` may be below 0 or above 1, so several μ may
    give the same number of electrons. The function takes the μ nearest to that of the Gaussian smearing, searched in
    steps of kT/16. A cold smearing has no such μ inside a gap. If the Gaussian μ gives the number of electrons to
    rounding, as in every gap of more than about 13 kT (float64), the function takes this μ and its derivatives.

    The derivatives are those of `funm`, and for μ those of an implicit function. A tensor of temperatures must not
    contain a zero. If whole levels are filled below a gap so wide that f'(x) underflows, the derivative in `electrons`
    is NaN.

    Mermin (1965), Phys. Rev. 137, A1441; Methfessel and Paxton (1989), Phys. Rev. B 40, 3616; Marzari, Vanderbilt, De
    Vita and Payne (1999), Phys. Rev. Lett. 82, 3296; dos Santos and Marzari (2023), Phys. Rev. B 107, 195122.

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
    if smearing not in get_args(Smearing):
        names = ", ".join(map(repr, get_args(Smearing)))
        raise ValueError(f"{_FUNCTION}: Expected smearing to be one of {names}, but got {smearing!r}")
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
        return DensityMatrixResult(
            *torch.ops.spectralgrad.density_matrix_full.default(*arguments, float(spin), smearing)
        )
    D: Tensor = torch.ops.spectralgrad.density_matrix.default(*arguments, float(spin), smearing)
    return D


def _broadcast(H: Tensor, quantities: list[Tensor | None], overlap: Tensor | None) -> tuple[Tensor | None, ...]:
    """Expands all to one batch. Under vmap, operators cannot distinguish a mapped dimension from a broadcast one."""
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
