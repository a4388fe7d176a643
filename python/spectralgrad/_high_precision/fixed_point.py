"""Matrices of fixed-point numbers with as many bits as wanted, stored as Python integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

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


def integer_matmul(a: Integers, b: Integers) -> Integers:
    """Returns the exact product of two integer matrices.

    Matrix products in float64 multiply the digits. They are exact, because a sum of n·count products of two 16-bit
    digits stays below 2^53 for n·count < 2^21. This is 5 to 20 times faster than the product of Python integers.
    """
    left, right = _limbs(a), _limbs(b)
    if a.shape[1] * min(len(left), len(right)) >= 2**21:
        raise ValueError(f"integer_matmul: matrices of size {a.shape[1]} are too large for exact products")
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
        if array.dtype.kind == "c":
            parts = [array.real.astype(np.float64), array.imag.astype(np.float64)]
        elif array.dtype.kind in "fiub":
            parts = [array.astype(np.float64)]
        else:
            is_complex = any(isinstance(x, (complex, mpmath.mpc)) for x in array.ravel())
            entries = np.vectorize(mpmath.mpmathify, otypes=[object])(array)
            parts = [_elementwise(part, entries) for part in ((mpmath.re, mpmath.im) if is_complex else (mpmath.re,))]
        largest = max((abs(x) for part in parts for x in part.ravel()), default=0)
        if not mpmath.isfinite(largest):
            raise ValueError("HighPrecisionMatrix: the entries must be finite")
        exponent = (int(mpmath.frexp(largest)[1]) if largest else 0) - bits
        with mpmath.workprec(bits + 64):
            integers = [to_integers(part, exponent) for part in parts]
        return cls(integers[0], integers[1] if len(integers) > 1 else None, exponent)

    @classmethod
    def identity(cls, n: int, exponent: int) -> HighPrecisionMatrix:
        integers = np.zeros((n, n), dtype=object)
        integers[np.diag_indices(n)] = 1 << -exponent
        return cls(integers, None, exponent)

    @property
    def _parts(self) -> list[Integers]:
        return [self.re] if self.im is None else [self.re, self.im]

    def each_part(self, f: Callable[[Integers], Integers], exponent: int | None = None) -> HighPrecisionMatrix:
        """Applies f to re and to im. The exponent stays, unless another one is given."""
        im = None if self.im is None else f(self.im)
        return HighPrecisionMatrix(f(self.re), im, self.exponent if exponent is None else exponent)

    @property
    def adjoint(self) -> HighPrecisionMatrix:
        return HighPrecisionMatrix(self.re.T, None if self.im is None else -self.im.T, self.exponent)

    def at(self, exponent: int) -> HighPrecisionMatrix:
        """Returns the same value with another exponent. It is rounded if the exponent is larger."""
        return self.each_part(lambda part: _shift(part, self.exponent - exponent), exponent)

    def times_power_of_two(self, power: int) -> HighPrecisionMatrix:
        """Returns the matrix times 2^power, which is exact."""
        return HighPrecisionMatrix(self.re, self.im, self.exponent + power)

    def __matmul__(self, other: HighPrecisionMatrix) -> HighPrecisionMatrix:
        """Returns the product, rounded to the absolute precision of the coarser factor."""
        exact = self.exponent + other.exponent
        re = integer_matmul(self.re, other.re)
        im: Integers | None = None
        if self.im is not None and other.im is not None:
            # Gauss's trick computes a complex product with three real multiplications.
            imaginary = integer_matmul(self.im, other.im)
            im = integer_matmul(self.re + self.im, other.re + other.im) - re - imaginary
            re = re - imaginary
        elif self.im is not None:
            im = integer_matmul(self.im, other.re)
        elif other.im is not None:
            im = integer_matmul(self.re, other.im)
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
        product = self.each_part(lambda part: part * weights.re, self.exponent + weights.exponent)
        return product.at(self.exponent + max(0, weights.magnitude()))

    def __getitem__(self, index: Any) -> HighPrecisionMatrix:
        return self.each_part(lambda part: part[index])

    def normalised(self) -> tuple[HighPrecisionMatrix, int]:
        """Returns (x, e) with self = x·2^e, where the entries of x are below one."""
        size = self.magnitude()
        return self.times_power_of_two(-size), size

    def magnitude(self) -> int:
        """Returns the smallest e with all entries below 2^e. For a zero matrix it is the exponent of its precision."""
        bits = max((abs(int(x)).bit_length() for part in self._parts for x in part.ravel()), default=0)
        return bits + self.exponent

    def to_mpmath(self) -> NDArray[np.object_]:
        """Returns an object array of mpf (real) or mpc (complex) numbers, at mpmath's current precision."""
        scale = mpmath.ldexp(mpmath.mpf(1), self.exponent)
        if self.im is None:
            return np.vectorize(lambda x: mpmath.mpf(x) * scale, otypes=[object])(self.re)
        return np.vectorize(lambda x, y: mpmath.mpc(x, y) * scale, otypes=[object])(self.re, self.im)

    def split(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (high, low), with 32 digits together: the matrix rounded to double precision, and the remainder."""
        (high, low), *imaginary = [_split(part, self.exponent) for part in self._parts]
        return (high + 1j * imaginary[0][0], low + 1j * imaginary[0][1]) if imaginary else (high, low)

    def to_numpy(self) -> NDArray[Any]:
        """Returns the matrix rounded to float64 or complex128."""
        return self.split()[0]


def _elementwise(f: Callable[[Any], Any], array: NDArray[Any]) -> NDArray[np.object_]:
    return np.array([f(x) for x in array.ravel()], dtype=object).reshape(array.shape)


def _shift(integers: Integers, bits: int) -> Integers:
    if bits >= 0:
        return integers * (1 << bits)
    return (integers + (1 << (-bits - 1))) // (1 << -bits)


def to_integers(array: NDArray[Any], exponent: int) -> Integers:
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
