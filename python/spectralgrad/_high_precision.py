"""Eigendecompositions and gradients of real symmetric and complex Hermitian matrices to 60 digits.

The tests and `compare` measure against it; nothing else imports it. It needs NumPy and mpmath only.

How it works, and why it can be trusted
---------------------------------------
The entries of the given array are taken as exact. The algorithm starts from a double precision decomposition. All other
steps use fixed-point numbers of ``dps + 25`` decimal digits, which are stored as Python integers:

1. Newton-Schulz steps, V <- V (3 I - V^H V) / 2, make the vectors orthonormal.
2. Let B = V^H A V. Eigenvalues form a cluster if they are closer than 1e-4 of the largest one. The step V <- V (I + X)
   with X_ij = B_ij / (B_jj - B_ii) separates the clusters from each other. It converges quadratically. Ogita and
   Aishima use the same step ("Iterative refinement for symmetric eigenvalue decomposition", Japan J. Indust. Appl.
   Math. 35, 2018).
3. Inside a cluster that step would divide by a tiny gap. Therefore mpmath diagonalises the small block of B.

The iteration stops only when the entries of B between clusters vanish to working precision, and raises an error if they
do not. The vectors of a pair with the relative gap g then have about ``dps + 25 + log10(g)`` digits. These are 60 at
the smallest gaps that float64 can represent. The projector onto a cluster has all ``dps + 25`` digits.

Every gradient here is V (K o (V^H M V)) V^H with real symmetric weights K_ij (Daleckii and Krein 1965). For tr(M f(A))
the weights are the divided differences of f. For tr(M P) they are 1/(lambda_i - lambda_j) across the boundary of the
set of eigenvalues. The convention is PyTorch's: dphi = Re tr(G^H dA) for Hermitian dA, and G is Hermitian.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

DIGITS = 60
_GUARD_DIGITS = 25
_CLUSTER_GAP = 1e-4
_LIMB_BITS = 16

Integers = NDArray[np.object_]


def _limbs(integers: Integers) -> NDArray[np.float64]:
    """Returns the base-2^16 digits of an integer matrix (p, q) as floats (count, p, q).

    The lowest digit comes first, and the highest one is signed.
    """
    flat = [int(x) for x in integers.ravel().tolist()]
    count = 1 + max((x.bit_length() for x in flat), default=0) // _LIMB_BITS
    raw = b"".join([x.to_bytes(2 * count, "little", signed=True) for x in flat])
    digits = np.empty((count, *integers.shape))
    np.copyto(digits[:-1], np.moveaxis(np.frombuffer(raw, dtype="<u2").reshape(*integers.shape, count), -1, 0)[:-1])
    np.copyto(digits[-1], np.frombuffer(raw, dtype="<i2").reshape(*integers.shape, count)[..., -1])
    return digits


def _from_limbs(digits: NDArray[np.float64]) -> Integers:
    """Returns the integer matrix (p, q) with the value sum_k digits[:, k] 2^(16 k).

    The digits (p, count, q) are integral and below 2^53.
    """
    p, count, q = digits.shape
    # The number is in two's complement, so the last carry holds its sign.
    raw = np.empty((p, q, 2 * count + 8), dtype=np.uint8)
    lower = raw[..., : 2 * count].view("<u2")
    carry = np.zeros((p, q), dtype=np.int64)
    for k in range(count):
        carry += digits[:, k].astype(np.int64)
        lower[..., k] = carry & (2**_LIMB_BITS - 1)
        carry >>= _LIMB_BITS
    raw[..., 2 * count :].view("<i8")[..., 0] = carry
    text, width = raw.tobytes(), raw.shape[-1]
    integers = [int.from_bytes(text[i : i + width], "little", signed=True) for i in range(0, len(text), width)]
    result = np.empty(p * q, dtype=object)
    result[:] = integers
    return result.reshape(p, q)


def _integer_matmul(a: Integers, b: Integers) -> Integers:
    """Returns the exact product of two integer matrices.

    Matrix products in float64 multiply the digits. They are exact, because a sum of n·count products of two 16-bit
    digits stays below 2^53 for n·count < 2^21. This is 5 to 20 times faster than the product of Python integers.
    """
    left, right = _limbs(a), _limbs(b)
    if a.shape[1] * min(len(left), len(right)) >= 2**21:
        raise ValueError(f"_integer_matmul: matrices of size {a.shape[1]} are too large for exact products")
    # The digits of b are placed side by side, so that each digit of a needs one product.
    side_by_side = np.ascontiguousarray(np.moveaxis(right, 0, 1)).reshape(b.shape[0], len(right) * b.shape[1])
    digits = np.zeros((a.shape[0], len(left) + len(right) - 1, b.shape[1]))
    for i, digit in enumerate(left):
        digits[:, i : i + len(right)] += (digit @ side_by_side).reshape(a.shape[0], len(right), b.shape[1])
    return _from_limbs(digits)


@dataclass(frozen=True)
class HighPrecisionMatrix:
    """A matrix with the value (re + i·im)·2^exponent, for integer matrices re and im. im is None for a real matrix."""

    re: Integers
    im: Integers | None
    exponent: int

    @classmethod
    def from_array(cls, array: Any, bits: int) -> HighPrecisionMatrix:
        """Converts an array of floats, complex numbers or mpmath numbers.

        Entries are rounded to 2^-bits of the largest one. Floats are exact unless they have digits below that.
        """
        array = np.asarray(array)
        if array.dtype.kind in "iub":
            array = array.astype(np.float64)
        if array.dtype.kind == "c":
            parts = [array.real.astype(np.float64), array.imag.astype(np.float64)]
        elif array.dtype.kind == "f":
            parts = [array.astype(np.float64)]
        else:
            is_complex = any(isinstance(x, (complex, mpmath.mpc)) for x in array.ravel())
            entries = [mpmath.mpmathify(x) for x in array.ravel()]
            parts = [np.array([mpmath.re(x) for x in entries], dtype=object).reshape(array.shape)]
            if is_complex:
                parts.append(np.array([mpmath.im(x) for x in entries], dtype=object).reshape(array.shape))
        largest = max((abs(x) for part in parts for x in part.ravel()), default=0)
        if not mpmath.isfinite(largest):
            raise ValueError("HighPrecisionMatrix: the entries must be finite")
        exponent = (int(mpmath.frexp(largest)[1]) if largest else 0) - bits
        with mpmath.workprec(bits + 64):
            integers = [_to_integers(part, exponent) for part in parts]
        return cls(integers[0], integers[1] if len(integers) > 1 else None, exponent)

    @classmethod
    def identity(cls, n: int, exponent: int) -> HighPrecisionMatrix:
        integers = np.zeros((n, n), dtype=object)
        integers[np.diag_indices(n)] = 1 << -exponent
        return cls(integers, None, exponent)

    @property
    def adjoint(self) -> HighPrecisionMatrix:
        return HighPrecisionMatrix(self.re.T, None if self.im is None else -self.im.T, self.exponent)

    def at(self, exponent: int) -> HighPrecisionMatrix:
        """Returns the same value with another exponent. It is rounded if the exponent is larger."""
        return HighPrecisionMatrix(
            _shift(self.re, self.exponent - exponent),
            None if self.im is None else _shift(self.im, self.exponent - exponent),
            exponent,
        )

    def __matmul__(self, other: HighPrecisionMatrix) -> HighPrecisionMatrix:
        """Returns the product, rounded to the absolute precision of the coarser factor."""
        exact = self.exponent + other.exponent
        re = _integer_matmul(self.re, other.re)
        im: Integers | None = None
        if self.im is not None and other.im is not None:
            # Gauss's trick computes a complex product with three real multiplications.
            imaginary = _integer_matmul(self.im, other.im)
            im = _integer_matmul(self.re + self.im, other.re + other.im) - re - imaginary
            re = re - imaginary
        elif self.im is not None:
            im = _integer_matmul(self.im, other.re)
        elif other.im is not None:
            im = _integer_matmul(self.re, other.im)
        return HighPrecisionMatrix(re, im, exact).at(max(self.exponent, other.exponent))

    def _combine(self, other: HighPrecisionMatrix, sign: int) -> HighPrecisionMatrix:
        exponent = min(self.exponent, other.exponent)
        a, b = self.at(exponent), other.at(exponent)
        im = a.im
        if b.im is not None:
            im = sign * b.im if im is None else im + sign * b.im
        return HighPrecisionMatrix(a.re + sign * b.re, im, exponent)

    def __add__(self, other: HighPrecisionMatrix) -> HighPrecisionMatrix:
        return self._combine(other, 1)

    def __sub__(self, other: HighPrecisionMatrix) -> HighPrecisionMatrix:
        return self._combine(other, -1)

    def weighted(self, weights: HighPrecisionMatrix) -> HighPrecisionMatrix:
        """Returns the entrywise product with real weights."""
        im = None if self.im is None else self.im * weights.re
        product = HighPrecisionMatrix(self.re * weights.re, im, self.exponent + weights.exponent)
        return product.at(self.exponent + max(0, _magnitude(weights.re) + weights.exponent))

    def columns(self, order: Sequence[int]) -> HighPrecisionMatrix:
        index = list(order)
        return HighPrecisionMatrix(self.re[:, index], None if self.im is None else self.im[:, index], self.exponent)

    def normalised(self) -> tuple[HighPrecisionMatrix, int]:
        """Returns (x, e) with self = x·2^e, where the entries of x are below one."""
        size = self.magnitude()
        return HighPrecisionMatrix(self.re, self.im, self.exponent - size), size

    def magnitude(self) -> int:
        """Returns the smallest e with all entries below 2^e. For a zero matrix it is the exponent of its precision."""
        parts = [self.re] if self.im is None else [self.re, self.im]
        return max(_magnitude(part) for part in parts) + self.exponent

    def to_mpmath(self) -> NDArray[np.object_]:
        """Returns an object array of mpf (real) or mpc (complex) numbers, at mpmath's current precision."""
        scale = mpmath.ldexp(mpmath.mpf(1), self.exponent)
        if self.im is None:
            return np.vectorize(lambda x: mpmath.mpf(x) * scale, otypes=[object])(self.re)
        return np.vectorize(lambda x, y: mpmath.mpc(x, y) * scale, otypes=[object])(self.re, self.im)

    def split(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (high, low), with 32 digits together: the matrix rounded to double precision, and the remainder."""
        pairs = [_split(part, self.exponent) for part in ([self.re] if self.im is None else [self.re, self.im])]
        if len(pairs) == 1:
            return pairs[0]
        return pairs[0][0] + 1j * pairs[1][0], pairs[0][1] + 1j * pairs[1][1]

    def to_numpy(self) -> NDArray[Any]:
        """Returns the matrix rounded to float64 or complex128."""
        return self.split()[0]


def _magnitude(integers: Integers) -> int:
    return max((abs(int(x)).bit_length() for x in integers.ravel()), default=0)


def _shift(integers: Integers, bits: int) -> Integers:
    if bits >= 0:
        return integers * (1 << bits)
    return (integers + (1 << (-bits - 1))) // (1 << -bits)


def _to_integers(array: NDArray[Any], exponent: int) -> Integers:
    def convert(x: Any) -> int:
        if isinstance(x, float):
            numerator, denominator = x.as_integer_ratio()
            numerator, shift = int(numerator), -exponent - (denominator.bit_length() - 1)
            return numerator << shift if shift >= 0 else (numerator + (1 << (-shift - 1))) >> -shift
        return int(mpmath.nint(mpmath.ldexp(x, -exponent)))

    return np.array([convert(x) for x in array.ravel().tolist()], dtype=object).reshape(array.shape)


def _split(integers: Integers, exponent: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    high = integers.astype(np.float64)
    low = (integers - np.array([int(x) for x in high.ravel()], dtype=object).reshape(high.shape)).astype(np.float64)
    return np.ldexp(high, exponent), np.ldexp(low, exponent)


@dataclass(frozen=True)
class Spectrum:
    """A decomposition A = V diag(values) V^H: ascending mpf values (n), orthonormal vectors (n, n) as columns."""

    values: list[Any]
    vectors: HighPrecisionMatrix
    digits: int

    @property
    def smallest_gap(self) -> Any:
        """The smallest difference of neighbouring eigenvalues, as an mpf; infinite for n < 2."""
        return min((b - a for a, b in itertools.pairwise(self.values)), default=mpmath.inf)


def _bits(digits: int) -> int:
    return int((digits + _GUARD_DIGITS) * 3.3219281) + 1


def _orthonormalise(vectors: HighPrecisionMatrix) -> HighPrecisionMatrix:
    n = vectors.re.shape[1]
    target = vectors.exponent + n.bit_length() + 4
    for _ in range(12):
        defect = vectors.adjoint @ vectors - HighPrecisionMatrix.identity(n, vectors.exponent)
        size = defect.magnitude()
        if size <= target:
            return vectors
        half = HighPrecisionMatrix(defect.re, defect.im, defect.exponent - 1)
        vectors = vectors - (vectors @ half).at(vectors.exponent)
        if 2 * size + n.bit_length() + 2 <= target:
            return vectors
    raise ArithmeticError("eigh_mp: the starting vectors could not be made orthonormal")


def _clusters(values: NDArray[np.float64]) -> list[range]:
    scale = float(np.max(np.abs(values), initial=0.0))
    cuts = [0, *(np.flatnonzero(np.diff(values) > _CLUSTER_GAP * scale) + 1).tolist(), len(values)]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def _rotate_clusters(
    vectors: HighPrecisionMatrix, compressed: HighPrecisionMatrix, clusters: list[range]
) -> HighPrecisionMatrix:
    """Diagonalises the block of V^H A V that belongs to each cluster, and rotates the vectors accordingly."""
    rotation = HighPrecisionMatrix.identity(vectors.re.shape[1], vectors.exponent)
    re, im = rotation.re, None if vectors.im is None else np.zeros_like(rotation.re)
    for cluster in clusters:
        if len(cluster) == 1:
            continue
        block = np.ix_(cluster, cluster)
        small = HighPrecisionMatrix(
            compressed.re[block], None if compressed.im is None else compressed.im[block], compressed.exponent
        ).to_mpmath()
        solve = mpmath.eigsy if compressed.im is None else mpmath.eighe
        _, basis = solve(mpmath.matrix(((small + small.T.conj()) / 2).tolist()))
        basis_array = np.array(basis.tolist(), dtype=object)
        re[block] = _to_integers(np.vectorize(mpmath.re, otypes=[object])(basis_array), vectors.exponent)
        if im is not None:
            im[block] = _to_integers(np.vectorize(mpmath.im, otypes=[object])(basis_array), vectors.exponent)
    return vectors @ HighPrecisionMatrix(re, im, vectors.exponent)


def eigh_mp(a: Any, dps: int = DIGITS) -> Spectrum:
    """Decomposes a real symmetric or complex Hermitian matrix to ``dps`` digits (see the docstring of the module).

    ``a`` is an (n, n) array whose floats are taken as exact. Only its Hermitian part is used. Raises
    ``ArithmeticError`` if the refinement does not converge.
    """
    a = np.asarray(a)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"eigh_mp: expected a square matrix, got shape {a.shape}")
    bits = _bits(dps)
    exact = HighPrecisionMatrix.from_array(a, bits)
    doubled = exact + exact.adjoint
    matrix = HighPrecisionMatrix(doubled.re, doubled.im, doubled.exponent - 1)
    # The matrix is scaled to entries below one. The eigenvalues are scaled back at the end.
    scale = matrix.exponent + bits
    matrix = HighPrecisionMatrix(matrix.re, matrix.im, -bits)
    rounded = matrix.to_numpy()
    start_values, start = np.linalg.eigh(rounded)
    with mpmath.workprec(bits + 32):
        vectors = _orthonormalise(HighPrecisionMatrix.from_array(start, bits).at(-bits))
        clusters = _clusters(start_values)
        label = np.repeat(np.arange(len(clusters)), [len(c) for c in clusters])
        between = label[:, None] != label[None, :]
        n = len(start_values)
        for _ in range(20):
            compressed = vectors.adjoint @ (matrix @ vectors)
            if any(len(c) > 1 for c in clusters):
                vectors = _rotate_clusters(vectors, compressed, clusters)
                compressed = vectors.adjoint @ (matrix @ vectors)
            diagonal = np.diagonal(compressed.re)
            gaps = np.where(between, diagonal[None, :] - diagonal[:, None], 1)
            parts = [
                None if part is None else np.where(between, part * (1 << bits) // gaps, 0)
                for part in (compressed.re, compressed.im)
            ]
            step = HighPrecisionMatrix(np.asarray(parts[0]), parts[1], -bits)
            converged = step.magnitude() <= -bits + 24 + n.bit_length()
            vectors = _orthonormalise(vectors + vectors @ step)
            if converged:
                break
        else:
            raise ArithmeticError(f"eigh_mp: the refinement of a matrix of size {n} did not converge")
        diagonal = np.diagonal((vectors.adjoint @ (matrix @ vectors)).re)
        order = sorted(range(n), key=lambda k: diagonal[k])
        values = [mpmath.ldexp(mpmath.mpf(diagonal[k]), scale - bits) for k in order]
    return Spectrum(values, vectors.columns(order), dps)


def working_precision(digits: int = DIGITS) -> Any:
    """Returns a context in which mpmath computes with the guard digits that the functions below need."""
    return mpmath.workprec(_bits(digits) + 32)


def eigenvalue_weights(values: Sequence[Any], slopes: Sequence[Any]) -> NDArray[np.object_]:
    """Returns K for a function of the eigenvalues alone, with derivative ``slopes`` (n). K is diagonal, and M = I."""
    weights = np.full((len(values), len(values)), mpmath.mpf(0), dtype=object)
    weights[np.diag_indices(len(values))] = [mpmath.mpf(slope) for slope in slopes]
    return weights


def projector_weights(values: Sequence[Any], start: int, stop: int) -> NDArray[np.object_]:
    """Returns K for tr(M P), where P is the projector onto the eigenvectors start:stop.

    K_ij is 1/(lambda_i - lambda_j) if one of i and j is inside start:stop and the other outside, and zero otherwise.
    """
    n = len(values)
    weights = np.full((n, n), mpmath.mpf(0), dtype=object)
    for i in range(start, stop):
        for j in (*range(start), *range(stop, n)):
            if values[i] == values[j]:
                raise ZeroDivisionError("projector_weights: the set of eigenvalues cuts through an exact degeneracy")
            weights[i, j] = weights[j, i] = 1 / (values[i] - values[j])
    return weights


def function_weights(
    values: Sequence[Any], f: Callable[[Any], Any], df: Callable[[Any], Any], digits: int = DIGITS
) -> NDArray[np.object_]:
    """Returns K for tr(M f(A)): the divided differences of f.

    Below a gap of 10^(-digits/2) the derivative at the midpoint replaces the quotient. Its error is of the order of the
    gap squared.
    """
    n = len(values)
    at = [f(x) for x in values]
    scale = max((abs(x) for x in values), default=mpmath.mpf(1)) or mpmath.mpf(1)
    near = scale * mpmath.mpf(10) ** (-(digits / 2))
    weights = np.empty((n, n), dtype=object)
    for i in range(n):
        for j in range(i + 1):
            gap = values[i] - values[j]
            weights[i, j] = weights[j, i] = (
                (at[i] - at[j]) / gap if abs(gap) > near else df((values[i] + values[j]) / 2)
            )
    return weights


def gradient(spectrum: Spectrum, weights: NDArray[np.object_], m: Any = None) -> HighPrecisionMatrix:
    """Returns V (K o (V^H M V)) V^H, (n, n), for weights K from one of the functions above.

    M (n, n) is Hermitian, and the identity by default.
    """
    bits = _bits(spectrum.digits)
    n = len(spectrum.values)
    with mpmath.workprec(bits + 32):
        # Products keep an absolute precision, so the factors are scaled to the size of one first.
        k, k_size = HighPrecisionMatrix.from_array(weights, bits).normalised()
        v = spectrum.vectors
        if m is None:
            rotated, m_size = HighPrecisionMatrix.identity(n, -bits), 0
        else:
            matrix, m_size = HighPrecisionMatrix.from_array(m, bits).normalised()
            rotated = v.adjoint @ matrix @ v
        result = v @ rotated.weighted(k) @ v.adjoint
        return HighPrecisionMatrix(result.re, result.im, result.exponent + k_size + m_size)


def eigenvalue_gradient(a: Any, k: int, dps: int = DIGITS) -> HighPrecisionMatrix:
    """Returns the gradient of the k-th eigenvalue, v v^H. It is meaningless if that eigenvalue is repeated."""
    spectrum = eigh_mp(a, dps)
    return gradient(spectrum, eigenvalue_weights(spectrum.values, [int(i == k) for i in range(len(spectrum.values))]))


def projector_gradient(a: Any, m: Any, start: int, stop: int, dps: int = DIGITS) -> HighPrecisionMatrix:
    """Returns the gradient of Re tr(M P) for Hermitian M, where P projects onto the eigenvectors start:stop."""
    spectrum = eigh_mp(a, dps)
    with working_precision(dps):
        return gradient(spectrum, projector_weights(spectrum.values, start, stop), m)


def function_gradient(
    a: Any, m: Any, f: Callable[[Any], Any] = mpmath.exp, df: Callable[[Any], Any] = mpmath.exp, dps: int = DIGITS
) -> HighPrecisionMatrix:
    """Returns the gradient of Re tr(M f(A)) for Hermitian M. f and its derivative df work on mpmath numbers."""
    spectrum = eigh_mp(a, dps)
    with working_precision(dps):
        return gradient(spectrum, function_weights(spectrum.values, f, df, dps), m)


def relative_error(computed: Any, reference: HighPrecisionMatrix) -> float:
    """Returns |Herm(computed) - reference| / |reference| in the Frobenius norm, or NaN if ``computed`` is not finite.

    Only the Hermitian part of a gradient has a meaning, because A is Hermitian. Taking it also undoes TensorFlow's
    convention, which adds the upper triangle to the lower one.
    """
    computed = np.asarray(computed)
    with np.errstate(all="ignore"):
        wide = computed.astype(np.complex128 if computed.dtype.kind == "c" else np.float64)
        hermitian = (wide + wide.conj().T) / 2
        if not np.all(np.isfinite(hermitian)):
            return float("nan")
        high, low = reference.split()
        size = float(np.linalg.norm(high))
        return float(np.linalg.norm((hermitian - high) - low)) / size if size else float(np.linalg.norm(hermitian))
