"""The adapter of this project, with each of its rules, and with its ways to align point clouds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import spectralgrad as sg

from ..loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD, Array, Loss, Parameters
from ..singular_losses import loss_of_rotation
from . import Peer, torch_peer
from .torch_peer import TorchOperations, tensor_gradients, through

# Label -> (the rule in words, the rule given eps of the dtype).
_RULES: dict[str, tuple[str, Callable[[float], sg.Rule]]] = {
    "Gated": ("Δ/(Δ²+η²), η = 2·eps·max|λ|, for entries above their round-off: the default", lambda eps: sg.Gated()),
    "Split": ("eigenvalues moved √eps·max|λ| apart", lambda eps: sg.Split()),
    "Lorentzian ε=1e-12": ("Δ/(Δ²+1e-12)", lambda eps: sg.Lorentzian.from_epsilon(1e-12)),
    "Lorentzian ε=1e-9": ("Δ/(Δ²+1e-9)", lambda eps: sg.Lorentzian.from_epsilon(1e-9)),
    "Lorentzian ε=1e-6": ("Δ/(Δ²+1e-6)", lambda eps: sg.Lorentzian.from_epsilon(1e-6)),
    # This mask has the half-width of the first Lorentzian, so that the two can be compared.
    "Cutoff 1e-6": ("0 below 1e-6, else 1/Δ", lambda eps: sg.Cutoff(1e-6)),
    # This mask starts at the gap where 1/Δ amplifies round-off to √eps.
    "Cutoff √eps": ("0 below √eps·max|λ|, else 1/Δ", lambda eps: sg.Cutoff(eps**0.5, relative=True)),
    "Bare": ("1/Δ", lambda eps: sg.Bare()),
}

DEFAULT = "Gated"
_OF_GENERALIZED = "as for eigh: the default. η follows the round-off that B amplifies"
_OF_EIG = "Δ̄/(|Δ|²+η²), η = 2·eps·max|λ|, for entries above their round-off: the default"

STAND_IN, RIGID, PROCRUSTES = "stand_in()", "rigid_alignment", "orthogonal_procrustes"
_ALIGNMENTS = {
    STAND_IN: "PyTorch's code with torch.linalg.svd, in a block with stand_in()",
    PROCRUSTES: "sg.orthogonal_procrustes(x, y, proper=True) of the centred points",
    RIGID: "sg.rigid_alignment(x, y)",
}


class SpectralgradPeer(Peer):
    @property
    def variants(self) -> dict[str, dict[str, str]]:
        rules = {label: words for label, (words, _) in _RULES.items()}
        return {
            EIGH: rules,
            SVD: rules,
            ALIGNMENT: _ALIGNMENTS,
            EIG: {DEFAULT: _OF_EIG},
            GENERALIZED: {DEFAULT: _OF_GENERALIZED},
        }

    def versions(self) -> dict[str, str]:
        return {"spectralgrad": sg.__version__, "torch": torch.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        if loss.task == ALIGNMENT:
            return _alignment_gradients(variant, loss, matrices, p)
        if loss.task == EIG:
            # The warnings about ill-conditioned eigenvalues are part of the result.
            with sg.checks("warn"):
                return tensor_gradients(partial(through, _eig, loss), matrices, p)
        if loss.task == GENERALIZED:
            return tensor_gradients(partial(through, lambda pair: tuple(sg.generalized_eigh(*pair)), loss), matrices, p)
        rule = _RULES[variant][1](float(np.finfo(matrices.dtype).eps))

        def eigh(a: torch.Tensor) -> torch_peer.Tensors:
            return tuple(sg.eigh(a, rule=rule))

        def svd(a: torch.Tensor) -> torch_peer.Tensors:
            return tuple(sg.svd(a, full_matrices=False, rule=rule))

        return tensor_gradients(partial(through, eigh if loss.task == EIGH else svd, loss), matrices, p)


def _eig(a: torch.Tensor) -> torch_peer.Tensors:
    return torch_peer.in_order(*sg.eig(a))


def _alignment_gradients(variant: str, loss: Loss, clouds: Array, p: Parameters) -> list[Array | Exception]:
    ops = TorchOperations()

    def value(x: torch.Tensor, p: Parameters) -> Any:
        y = p.arrays["y"]
        if variant == STAND_IN:
            with sg.stand_in():
                return through(torch_peer.svd, loss, x, p)
        if variant == RIGID:
            return loss_of_rotation(ops, sg.rigid_alignment(x, y).rotation, p)
        return loss_of_rotation(ops, sg.orthogonal_procrustes(ops.centred(x), ops.centred(y), proper=True).R.mT, p)

    return tensor_gradients(value, clouds, p)


def create() -> Peer:
    torch.set_num_threads(1)
    # The comparison computes ill-posed gradients on purpose, so warnings are switched off.
    sg.set_checks("ignore")
    return SpectralgradPeer()
