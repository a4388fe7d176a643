"""Prints tests/cpp/pairs_reference.h: inverses of denominators by rule, from mpmath.

python tests/cpp/generate_pairs_reference.py > tests/cpp/pairs_reference.h
"""

from __future__ import annotations

from collections.abc import Iterator

import mpmath

mpmath.mp.dps = 60

EPS = {"kFloat": 2.0**-23, "kDouble": 2.0**-52}
LARGEST = 2.0  # of the values that each pair belongs to

# (form, half-width, unit of the half-width)
RULES = [
    ("bare", 0.0, "absolute"),
    ("cutoff", 1e-3, "absolute"),
    ("cutoff", 1e-3, "relative"),
    ("lorentzian", 1e-3, "absolute"),
    ("lorentzian", 10.0, "absolute"),  # wider than the largest value
    ("lorentzian", 1e-3, "relative"),
    ("gated", 4.0, "eps"),
]


def pairs_of(eps: float) -> dict[str, list[tuple[complex, complex]]]:
    """Values (x_i, x_j) that are exact in the type: far, near, nearer, of different sign, equal."""
    return {
        "difference": [(0.25, 1), (1, 1 + 2**10 * eps), (1, 1 + 2 * eps), (-1, 1), (1, 1)],
        "sum": [(0.25, 0.75), (0, 2**10 * eps), (eps, eps), (eps, 1), (0, 0)],
        "value": [(0, 0.75), (1, 2**10 * eps), (0.5, eps), (0.5, 0)],
        "in_plane": [
            (0.25 + 0.5j, 1 - 1j),
            (1 + 1j, 1 + 2**10 * eps + 1j * (1 + 2**9 * eps)),
            (1 + 1j, 1 + 1j * (1 - 2 * eps)),
            (-1j, 1j),
            (1 + 1j, 1 + 1j),
        ],
    }


def inverse(form: str, d: mpmath.mpc, width: mpmath.mpf) -> mpmath.mpc:
    if form in ("lorentzian", "gated"):
        return mpmath.conj(d) / (abs(d) ** 2 + width**2)
    return mpmath.mpc(0) if form == "cutoff" and abs(d) <= width else 1 / d


def number(x: mpmath.mpf) -> str:
    return str(mpmath.nstr(x, 16)) if x else "0"


def rows() -> Iterator[str]:
    for dtype, eps in EPS.items():
        for kind, pairs in pairs_of(eps).items():
            for x_i, x_j in pairs:
                d = mpmath.mpc(x_j) + {"sum": 1, "value": 0}.get(kind, -1) * mpmath.mpc(x_i)
                for index, (form, given, unit) in enumerate(RULES):
                    if form == "bare" and d == 0:
                        continue
                    width = given * {"absolute": 1.0, "relative": LARGEST, "eps": eps * LARGEST}[unit]
                    F = inverse(form, d, mpmath.mpf(width))
                    parts = [part for x in (x_i, x_j) for part in (complex(x).real, complex(x).imag)]
                    fields = [
                        dtype,
                        kind,
                        str(index),
                        *(f"{part:.17g}" for part in parts),
                        number(F.real),
                        number(F.imag),
                    ]
                    yield f"    {{{', '.join(fields)}}},"


def main() -> None:
    rules = "\n".join(f'    {{"{form}", {width!r}, "{unit}"}},' for form, width, unit in RULES)
    print(f"""#pragma once

#include <ATen/ATen.h>

// Made by generate_pairs_reference.py; not edited by hand.
// clang-format off
namespace spectralgrad::testing {{

using at::kDouble;
using at::kFloat;

enum PairKind {{
  difference,
  sum,
  value, // x_j alone
  in_plane, // difference of complex values
}};

struct RuleReference {{
  const char* form;
  double width;
  const char* unit; // of the width
}};

inline constexpr RuleReference rule_references[] = {{
{rules}
}};

/// The largest of the values that each pair belongs to.
inline constexpr double largest_value = {LARGEST!r};

struct PairReference {{
  at::ScalarType dtype; // real
  PairKind kind;
  int rule; // index in `rule_references`
  double re_i, im_i, re_j, im_j; // the values x_i and x_j, exact in `dtype`
  double re, im; // the broadened inverse of x_j - x_i, x_j + x_i or x_j
}};

inline constexpr PairReference pair_references[] = {{""")
    print("\n".join(rows()))
    print("""};

} // namespace spectralgrad::testing
// clang-format on""")


if __name__ == "__main__":
    main()
