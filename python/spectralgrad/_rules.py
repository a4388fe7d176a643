"""Rules for 1/(λj - λi) in the derivatives of an eigenvalue decomposition, and the current rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from numbers import Real
from types import TracebackType
from typing import ClassVar

import torch

from . import _C
from ._current import current, enter, leave, rules

_GATED_NOISE, _GATED_WIDTH = _C.Rule.parse("gated", []).parameters
_FIELD_KINDS: dict[str, tuple[type, str]] = {"order": (int, "1 or 2"), "relative": (bool, "a bool")}


class Rule(ABC):
    """How 1/(λj - λi) is formed in derivatives: an immutable value. See the subclasses. Widths are half-widths."""

    _name: ClassVar[str]
    # The parameters in words. torch.compile takes a float attribute for a number that may change, and compiles twice; a
    # string is a constant. None for rules that are made in compiled code.
    _spelled: str | None = None

    @abstractmethod
    def _parameters(self) -> list[float]:
        """The numbers that operators take beside the rule's name (`Rule::parameters` in C++)."""

    def __post_init__(self) -> None:
        # C++ checks the ranges. Compiled code cannot call it here, so the operator checks them when it runs.
        if torch.compiler.is_compiling():
            return
        for field in fields(self):  # type: ignore[arg-type]
            kind, words = _FIELD_KINDS.get(field.name, (Real, "a number"))
            value = getattr(self, field.name)
            is_bool = isinstance(value, bool) and kind is not bool  # a bool counts as a number for Python
            if is_bool or not (isinstance(value, kind) or (value is None and field.default is None)):
                raise TypeError(
                    f"spectralgrad.{type(self).__name__}: Expected {field.name} to be {words}, but got {value!r}"
                )
        self._encoded()
        object.__setattr__(self, "_spelled", " ".join(map(repr, self._parameters())))

    def _encoded(self) -> _C.Rule:
        return _C.Rule.parse(self._name, self._parameters())


@dataclass(frozen=True)
class Gated(Rule):
    """The default rule: a Lorentzian of half-width `width`·eps·max|λ|, for entries that exceed their round-off.

    An entry of the cotangent is kept if it is larger than `noise` times its typical round-off. This is about 0.2·eps of
    the magnitude that the entry was summed from, and inside a cluster 0.5·eps of the largest column of the cotangent.
    Inside a cluster, an entry is also dropped if it is larger than a well-posed loss can have. A dropped entry costs no
    more than the noise that it would have carried. So losses that do not distinguish the eigenvalues of a cluster
    (projectors onto whole eigenspaces, separated eigenvectors, energies) are right to a few eps at every gap, zero
    included. ``noise=0`` keeps all entries. The rule does not depend on the scale of A, and has nothing to tune.
    """

    noise: float = _GATED_NOISE
    width: float = _GATED_WIDTH

    _name: ClassVar[str] = "gated"

    def _parameters(self) -> list[float]:
        return [self.noise, self.width]


@dataclass(frozen=True)
class Lorentzian(Rule):
    """d/(d² + width²), a broadened 1/d. The half-width is in the units of the eigenvalues, or `relative` to max|λ|.

    Its relative bias is exactly width²/(d² + width²).
    """

    width: float
    relative: bool = False

    _name: ClassVar[str] = "lorentzian"

    @classmethod
    def from_epsilon(cls, epsilon: float) -> Lorentzian:
        """The d/(d² + epsilon) of the literature, with `epsilon` in squared units of the eigenvalues."""
        if isinstance(epsilon, bool) or not isinstance(epsilon, Real):
            raise TypeError(
                f"spectralgrad.Lorentzian.from_epsilon: Expected epsilon to be a number, but got {epsilon!r}"
            )
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise ValueError(
                f"spectralgrad.Lorentzian.from_epsilon: Expected epsilon to be a finite number >= 0, but got {epsilon}"
            )
        return cls(math.sqrt(epsilon))

    def _parameters(self) -> list[float]:
        return [self.width, float(self.relative)]


@dataclass(frozen=True)
class Split(Rule):
    """Moves eigenvalues closer than `width`·max|λ| apart, also in the returned values, and applies the gated rule.

    For code that computes f(A) from the results of eigh and cannot be changed. The part of its gradient that is a limit
    0/0 becomes visible. First derivatives err by about width + eps/width, second ones by width + eps/width². The
    default width is eps^(1/2), or eps^(1/3) with ``order=2``, for second derivatives. Eigenvalues inside a cluster of m
    move by at most (m - 1)/2 widths and keep their sum. Other eigenvalues do not move.

    A repeated zero is moved, too, so a rank or a clipped eigenvalue computed from the result is wrong. A `GaugeWarning`
    (`GaugeError` under ``checks("raise")``) reports eigenvalues that cross n·eps·max|λ|, or minus that.
    """

    width: float | None = None
    order: int = 1

    _name: ClassVar[str] = "split"

    def _parameters(self) -> list[float]:
        return [float(self.order)] if self.width is None else [float(self.order), self.width]


@dataclass(frozen=True)
class Cutoff(Rule):
    """0 for pairs closer than `width`, and 1/d for the others."""

    width: float
    relative: bool = False

    _name: ClassVar[str] = "cutoff"

    def _parameters(self) -> list[float]:
        return [self.width, float(self.relative)]


@dataclass(frozen=True)
class Bare(Rule):
    """1/d as in torch.linalg: NaN if two eigenvalues are equal."""

    _name: ClassVar[str] = "bare"

    def _parameters(self) -> list[float]:
        return []


_RULES: dict[str, type[Rule]] = {rule._name: rule for rule in (Gated, Lorentzian, Split, Cutoff, Bare)}

# Rules are immutable numbers, so they are safe to load from a checkpoint.
torch.serialization.add_safe_globals(list(_RULES.values()))


def _decode(rule: _C.Rule) -> Rule:
    parameters = list(rule.parameters)
    if rule.name in ("lorentzian", "cutoff"):
        return _RULES[rule.name](parameters[0], bool(parameters[1]))  # type: ignore[call-arg]
    if rule.name == "split":
        return Split(parameters[1] if len(parameters) == 2 else None, int(parameters[0]))
    return _RULES[rule.name](*parameters)


_process_default: Rule = Gated()  # torch.compile reads this copy of C++'s, and guards on it


def _check_rule(function: str, rule: object) -> None:
    if not isinstance(rule, Rule):
        raise TypeError(
            f"spectralgrad.{function}: Expected rule to be a Rule such as spectralgrad.Gated(), but got {rule!r}"
        )


def _operator_arguments(function: str, rule: Rule | None) -> tuple[str, list[float]] | tuple[()]:
    """`rule` as the two arguments that operators take. No arguments mean C++'s current default."""
    if rule is None:
        if not torch.compiler.is_compiling():
            return ()
        rule = _process_default if current.rule is None else current.rule
    _check_rule(function, rule)
    if torch.compiler.is_compiling() and rule._spelled is not None:
        return rule._name, [float(number) for number in rule._spelled.split()]
    return rule._name, rule._parameters()


def default_rule() -> Rule:
    """Returns the rule for calls without one: the rule of the innermost `use_rule`, else the default of the process."""
    return _decode(_C.default_rule())


def set_default_rule(rule: Rule) -> None:
    """Sets the default rule of the whole process, for operations that are given no rule.

    Example::

        >>> sg.set_default_rule(sg.Split())
        >>> sg.default_rule()
        Split(width=None, order=1)
        >>> sg.set_default_rule(sg.Gated())
    """
    global _process_default
    _check_rule("set_default_rule", rule)
    _C.set_default_rule(rule._encoded())
    _process_default = rule


class use_rule:
    """Makes `rule` the default inside a block. Blocks nest.

    The rule belongs to the context, like a `contextvars.ContextVar`: each thread and each asyncio task has its own, and
    a task starts with the rule of the code that created it. One object may be entered many times, in any number of
    threads and tasks.

    Example::

        >>> with sg.use_rule(sg.Lorentzian(1e-6)):
        ...     print(sg.default_rule())
        Lorentzian(width=1e-06, relative=False)
    """

    def __init__(self, rule: Rule) -> None:
        _check_rule("use_rule", rule)
        self._rule = rule
        self._traced: list[Rule | None] = []

    def __enter__(self) -> Rule:
        if torch.compiler.is_compiling():
            self._traced.append(current.rule)
            current.rule = self._rule
        else:
            enter(rules, self, self._rule, self._rule._encoded())
        return self._rule

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if torch.compiler.is_compiling():
            current.rule = self._traced.pop()
        else:
            leave(rules, self)
