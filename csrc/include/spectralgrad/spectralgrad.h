#pragma once

// Differentiable spectral decompositions that stay right at degenerate (repeated) eigenvalues.
#include <spectralgrad/canonical_gauge.h>
#include <spectralgrad/checks.h>
#include <spectralgrad/density_matrix.h>
#include <spectralgrad/eig.h>
#include <spectralgrad/eigh.h>
#include <spectralgrad/eigh_subset.h>
#include <spectralgrad/eigvals.h>
#include <spectralgrad/eigvalsh.h>
#include <spectralgrad/eigvalsh_directional.h>
#include <spectralgrad/funm.h>
#include <spectralgrad/generalized_eigh.h>
#include <spectralgrad/install.h>
#include <spectralgrad/interrupt.h>
#include <spectralgrad/orthogonal_procrustes.h>
#include <spectralgrad/pinvm.h>
#include <spectralgrad/polar.h>
#include <spectralgrad/rigid_alignment.h>
#include <spectralgrad/rule.h>
#include <spectralgrad/spectral_map.h>
#include <spectralgrad/spectral_projector.h>
#include <spectralgrad/svd.h>
#include <spectralgrad/svd_truncated.h>
#include <spectralgrad/svdvals.h>
#include <spectralgrad/track.h>
#include <spectralgrad/version.h>
