"""Eigendecompositions and gradients of real symmetric and complex Hermitian matrices to 60 digits.

The tests and `compare` measure against it. No other module imports it. It needs NumPy and mpmath only.

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

General matrices have ``RieszProjector``, which needs no eigenvectors.
"""

from .decomposition import DIGITS as DIGITS
from .decomposition import Spectrum as Spectrum
from .decomposition import eigh_mp as eigh_mp
from .decomposition import working_precision as working_precision
from .fixed_point import HighPrecisionMatrix as HighPrecisionMatrix
from .fixed_point import Integers as Integers
from .gradients import eigenvalue_weights as eigenvalue_weights
from .gradients import function_weights as function_weights
from .gradients import gradient as gradient
from .gradients import projector_gradient as projector_gradient
from .gradients import projector_weights as projector_weights
from .gradients import relative_error as relative_error
from .gradients import step_weights as step_weights
from .riesz import RieszProjector as RieszProjector
from .riesz import riesz_projector_mp as riesz_projector_mp
