"""Differentiable spectral decompositions for PyTorch that stay right at degenerate (repeated) eigenvalues."""

import torch as _torch

from . import _build_info
from ._torch_version import check as _check_torch_version

_check_torch_version(_build_info.built_against_torch, _torch.__version__)

from . import _C, distributed  # noqa: E402
from ._batching import register_batching as _register_batching  # noqa: E402
from ._checks import GaugeError, GaugeWarning, checks, set_checks  # noqa: E402
from ._checks_in_graphs import register_with_dynamo as _register_with_dynamo  # noqa: E402
from ._ops.canonical_gauge import canonical_gauge  # noqa: E402
from ._ops.density_matrix import DensityMatrixResult, density_matrix  # noqa: E402
from ._ops.eig import eig  # noqa: E402
from ._ops.eigh import eigh  # noqa: E402
from ._ops.eigh_subset import eigh_subset  # noqa: E402
from ._ops.eigvals import eigvals  # noqa: E402
from ._ops.eigvalsh import eigvalsh  # noqa: E402
from ._ops.eigvalsh_directional import eigvalsh_directional  # noqa: E402
from ._ops.funm import expm, funm, invsqrtm, logm, powm, sqrtm, trace_funm, trace_sqrtm  # noqa: E402
from ._ops.generalized_eigh import generalized_eigh  # noqa: E402
from ._ops.orthogonal_procrustes import OrthogonalProcrustesResult, orthogonal_procrustes  # noqa: E402
from ._ops.pinvm import pinvm, pseudo_logdet  # noqa: E402
from ._ops.polar import PolarResult, polar  # noqa: E402
from ._ops.rigid_alignment import RigidAlignmentResult, rigid_alignment  # noqa: E402
from ._ops.spectral_map import spectral_map  # noqa: E402
from ._ops.spectral_projector import spectral_projector  # noqa: E402
from ._ops.svd import svd  # noqa: E402
from ._ops.svd_truncated import svd_truncated  # noqa: E402
from ._ops.svdvals import svdvals  # noqa: E402
from ._ops.track import TrackResult, track  # noqa: E402
from ._rules import (  # noqa: E402
    Bare,
    Cutoff,
    Gated,
    Lorentzian,
    Rule,
    Split,
    default_rule,
    set_default_rule,
    use_rule,
)
from ._scripting import register_scripting as _register_scripting  # noqa: E402
from ._standing_in import _Mode, install, installed, stand_in, uninstall  # noqa: E402

_register_batching()
distributed._register_if_imported()
_register_with_dynamo(
    [
        *(method for block in (checks, stand_in, use_rule) for method in (block.__enter__, block.__exit__)),
        _Mode.__torch_function__,
    ],
    [spectral_map.__wrapped__],  # type: ignore[attr-defined]
)
_register_scripting(globals())

__version__: str = _C.version

__all__ = [
    "Bare",
    "Cutoff",
    "DensityMatrixResult",
    "Gated",
    "GaugeError",
    "GaugeWarning",
    "Lorentzian",
    "OrthogonalProcrustesResult",
    "PolarResult",
    "RigidAlignmentResult",
    "Rule",
    "Split",
    "TrackResult",
    "canonical_gauge",
    "checks",
    "default_rule",
    "density_matrix",
    "eig",
    "eigh",
    "eigh_subset",
    "eigvals",
    "eigvalsh",
    "eigvalsh_directional",
    "expm",
    "funm",
    "generalized_eigh",
    "install",
    "installed",
    "invsqrtm",
    "logm",
    "orthogonal_procrustes",
    "pinvm",
    "polar",
    "powm",
    "pseudo_logdet",
    "rigid_alignment",
    "set_checks",
    "set_default_rule",
    "spectral_map",
    "spectral_projector",
    "sqrtm",
    "stand_in",
    "svd",
    "svd_truncated",
    "svdvals",
    "trace_funm",
    "trace_sqrtm",
    "track",
    "uninstall",
    "use_rule",
]
