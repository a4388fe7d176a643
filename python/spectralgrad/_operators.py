"""One line for each operator: what vmap, DTensor, TorchScript and compilers need to know about it.

`_batching`, `distributed`, `_scripting` and `_checks_in_graphs` register the operators from here. A new operator needs
a line here, and one in `tests/python/operator_cases.py`. `test_operators.py` names an operator whose line is missing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Operator(NamedTuple):
    """The properties of an operator that its schema does not tell."""

    trailing: tuple[int | None, ...] | None
    """For each tensor argument: the number of dimensions at its end that do not belong to the batch.

    All other dimensions are the batch, which is the same for all arguments and results. An entry is None if the other
    arguments determine the batch. If no argument does, the operator needs the whole batch. None instead of a tuple: the
    operator is a composition of others, and is decomposed before DTensor sees it.
    """
    public: bool = False
    """A function of the same name calls it, or a variant of that function. It runs in float32 under autocast."""
    batched: bool = True
    """All tensor arguments and results carry the batch, so that `vmap` can add a dimension to it."""
    reports: bool = True
    """It may warn or raise because of the values of its arguments, so it depends on the level of `checks`."""
    script: str | None = None
    """The parameters of the function in TorchScript, if the function is this one operator."""
    one_result: bool = False
    """The result belongs to the whole batch, and has no batch dimension under `vmap`."""


_MATRIX = "A: Tensor"
_UPLO = 'A: Tensor, UPLO: str = "L"'
_TRUNCATION = (
    "A: Tensor, rank: Optional[int] = None, rtol: Optional[float] = None, atol: Optional[float] = None, "
    "keep_multiplets: bool = True, driver: Optional[str] = None"
)
_SUBSET = 'A: Tensor, start: Optional[int], stop: Optional[int], UPLO: str = "L", B: Optional[Tensor] = None'
_EIGENVECTORS = "L: Tensor, V: Tensor, rtol: Optional[float] = None"
_RTOL = "A: Tensor, rtol: Optional[float] = None"

OPERATORS: dict[str, Operator] = {
    "eig": Operator((2,), public=True, script=_MATRIX),
    "eigh": Operator((2,), public=True, script=_UPLO),
    "eigh_subset": Operator(None, public=True, script=_SUBSET),
    "eigvals": Operator((2,), public=True, script=_MATRIX),
    "eigvalsh": Operator((2,), public=True, script=_UPLO),
    "eigvalsh_directional": Operator(None, public=True, script="A: Tensor, E: Tensor, rtol: Optional[float] = None"),
    # A and B may have batches of different shapes, so vmap maps the operators that it is made of.
    "generalized_eigh": Operator(
        None, public=True, batched=False, script='A: Tensor, B: Tensor, UPLO: str = "L", itype: int = 1'
    ),
    "svd": Operator((2,), public=True, script="A: Tensor, full_matrices: bool = True, driver: Optional[str] = None"),
    "svd_truncated": Operator(None, public=True, script=_TRUNCATION),
    "svdvals": Operator((2,), public=True, script="A: Tensor, driver: Optional[str] = None"),
    "polar": Operator(None, public=True, script='A: Tensor, side: str = "right"'),
    "orthogonal_procrustes": Operator(None, public=True, script="A: Tensor, B: Tensor, proper: bool = False"),
    "rigid_alignment": Operator(
        None,
        public=True,
        script="source: Tensor, target: Tensor, weights: Optional[Tensor] = None, scale: bool = False",
    ),
    "expm": Operator(None, public=True, script=_MATRIX),
    "logm": Operator(None, public=True, script=_MATRIX),
    "sqrtm": Operator(None, public=True, script=_MATRIX),
    "invsqrtm": Operator(None, public=True, script=_MATRIX),
    "powm": Operator(None, public=True, script="A: Tensor, p: Union[float, int, Tensor]"),
    "trace_sqrtm": Operator(None, public=True, script=_MATRIX),
    "pinvm": Operator(None, public=True, script=_RTOL),
    "pseudo_logdet": Operator(None, public=True, script=_RTOL),
    "canonical_gauge": Operator(None, public=True, reports=False, script=_EIGENVECTORS),
    "track": Operator(None, public=True, script=_EIGENVECTORS),
    "spectral_projector": Operator(None, public=True, script="A: Tensor, start: int, stop: int"),
    "density_matrix": Operator(None, public=True),
    "density_matrix_full": Operator(None, public=True),
    "canonical_frame": Operator((1, 2), reports=False),
    "chemical_potential": Operator((2, 1, 2, 0, 0)),
    "cluster_rounds": Operator((None,), batched=False, reports=False),
    "consecutive_eigenpairs": Operator((2, 2)),
    "constant": Operator((0,), reports=False),
    "drop_small_eigenvalues": Operator((1,)),
    "eig_jvp": Operator((2, 1, 2)),
    "eig_vjp": Operator((1, 2, 1, 2, 2)),
    "eigenpairs": Operator((2,)),
    "eigenvalues_of_power": Operator((1, 0)),
    "eigh_jvp": Operator((2, 1, 2)),
    "eigh_subset_vjp": Operator((1, 2, 1, 2)),
    "eigh_vjp": Operator((1, 2, 1, 2)),
    "eigh_vjp_jvp": Operator((1, 2, 1, 2, 1, 2, 1, 2), reports=False),
    "eigh_vjp_vjp": Operator((2, 1, 2, 1, 2), reports=False),
    "fill_levels": Operator((1, 0, 0)),
    "generalized_eigenpairs": Operator((2, 2)),
    "generalized_eigh_jvp": Operator((2, 2, 1, 2, 1)),
    "generalized_eigh_vjp": Operator((1, 2, 1, 2, 1)),
    "hermitian": Operator((2,)),
    "in_canonical_gauge": Operator((2, 2, 1, 1), reports=False),
    "in_canonical_gauge_vjp": Operator((2, 2, 2, 1, 1), reports=False),
    "judge_cotangents": Operator((1, 2, 2, 1, 0)),
    "judge_eigenvectors": Operator((1, 2, 2, 2, 1, 1, 0, 1, 1, 0, 0)),
    "judge_polar_factor": Operator((2, 2, 1, 2)),
    "judge_rotations": Operator((1, 2, 2, 3, 1, 2)),
    "judge_singular_vectors": Operator((1, 2, 2, 2, 1, 1)),
    "leading_singular_triples": Operator((2, 2, 1, 2)),
    "near_defective_gradient": Operator((1, 1, 2, 2), reports=False),
    "once": Operator((None, 2), reports=False),
    "path_order": Operator((2, 3), reports=False),
    "point_moments": Operator((2, 2, 1)),
    "point_moments_vjp": Operator((1, 1, 2, 0, 2, 2, 1, 1, 1, 1), reports=False),
    "polar_factor": Operator((2, 0)),
    "polar_factor_vjp": Operator((2, 0, 2, 2, 1, 2)),
    "polar_quotient": Operator((2, 2, 1, 2), reports=False),
    "power_of_eigenpairs": Operator(None),
    "quantity": Operator((0,)),
    "rotated_eigenpairs": Operator((2, 1, 2)),
    "singular_triples": Operator((2,)),
    "spectral_function": Operator((2, 1, 2, 2, 2, 2, 2)),
    "spectral_function_transposed": Operator((2, 1, 2, 2, 2, 2, 2)),
    "spectral_trace": Operator((2, 1, 2, 2)),
    "svd_jvp": Operator((2, 2, 1, 2)),
    "svd_truncated_vjp": Operator((2, 1, 2, 2, 1, 2)),
    "svd_vjp": Operator((2, 1, 2, 2, 1, 2)),
    "truncation_rank": Operator((None,), reports=False, one_result=True),
    "warn_of_second_order": Operator((None, 1, 0)),
    "watch_second_order": Operator((1, 2, 0)),
}


def handle(name: str) -> Any:
    """The operator `name` of the dispatcher, in its first overload."""
    return getattr(torch.ops.spectralgrad, name).default


def tensor_positions(name: str) -> list[int]:
    """The positions of those arguments of an operator that are tensors."""
    types = [str(argument.type) for argument in handle(name)._schema.arguments]
    return [i for i, kind in enumerate(types) if kind in ("Tensor", "Optional[Tensor]")]
