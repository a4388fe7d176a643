#include "core/decomposition_words.h"

#include <algorithm>
#include <iterator>

namespace spectralgrad {
namespace {

constexpr DecompositionWords eigen{
    "eigh",
    "eigenvalue",
    "a repeated eigenvalue",
    "eigenvectors",
    "an eigenspace",
    "linalg_eigh_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. The "
    "specified loss function depends on this quantity, so it is ill-defined.",
    "Only functions of the whole eigenspace, such as its projector, are well defined.",
    "spectralgrad.funm, trace_funm, spectral_projector, density_matrix and spectral_map have it",
    "spectralgrad.funm, trace_funm, spectral_projector and density_matrix have it",
    true};

/// Slopes of eigenvalues keep equal ones together, whatever the rule.
constexpr DecompositionWords slopes = [] {
  auto words = eigen;
  words.split_moves_values = false;
  return words;
}();

constexpr DecompositionWords general{
    "eig",
    "eigenvalue",
    "a repeated eigenvalue",
    "eigenvectors",
    "an eigenspace",
    "linalg_eig_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. The "
    "specified loss function depends on this quantity, so it is ill-defined.",
    "Only functions of the whole eigenspace, such as its Riesz projector V[:, c] @ inv(V)[c, :], are well defined.",
    "For a Hermitian matrix, spectralgrad.funm, trace_funm, spectral_projector, density_matrix and spectral_map have "
    "it",
    "For a Hermitian matrix, spectralgrad.funm, trace_funm, spectral_projector and density_matrix have it",
    false};

constexpr DecompositionWords generalized{
    "generalized_eigh",
    "eigenvalue",
    "a repeated eigenvalue",
    "eigenvectors",
    "an eigenspace",
    "spectralgrad.generalized_eigh: The eigenvectors in the complex case are specified up to multiplication by "
    "e^{i phi}. The specified loss function depends on this quantity, so it is ill-defined.",
    "Only functions of the whole eigenspace, such as V V^H over its eigenvectors, are well defined.",
    "spectralgrad.density_matrix with an overlap has it, and so have funm and spectral_map of L^-1 A L^-H, B = L L^H",
    "spectralgrad.density_matrix with an overlap has it, and so has funm of L^-1 A L^-H, B = L L^H",
    true};

constexpr DecompositionWords singular{
    "svd",
    "singular value",
    "a repeated or zero singular value",
    "singular vectors",
    "a singular subspace",
    "svd_backward: The singular vectors in the complex case are specified up to multiplication by e^{i phi}. The "
    "specified loss function depends on this phase term, making it ill-defined.",
    "U and V turn together there, so U V^H and the projectors onto whole subspaces are well defined.",
    "spectralgrad.funm and spectral_map of A^H A or A A^H have it",
    "spectralgrad.polar for U V^H, and spectralgrad.funm and spectral_projector of A^H A or A A^H have it",
    true};

constexpr std::string_view functions_of_singular_values[] = {
    "svd",
    "svdvals",
    "svd_truncated",
    "polar",
    "orthogonal_procrustes",
    "rigid_alignment",
};

} // namespace

const DecompositionWords& decomposition_words(std::string_view caller) {
  if (caller == "eig" || caller == "eigvals") {
    return general;
  }
  if (caller == "generalized_eigh") {
    return generalized;
  }
  if (caller == "eigvalsh_directional") {
    return slopes;
  }
  const auto* end = std::end(functions_of_singular_values);
  return std::find(std::begin(functions_of_singular_values), end, caller) == end ? eigen : singular;
}

PolarFactorWords polar_factor_words(std::string_view caller) {
  if (caller == "orthogonal_procrustes") {
    return {
        "A^H B",
        "the matrix R",
        "R is unique if A^H B has full rank; for real matrices with proper=True, if the sum of the two smallest "
        "singular values is not 0."};
  }
  if (caller == "rigid_alignment") {
    return {
        "the covariance of source and target",
        "the rotation",
        "Points that are collinear or coincident leave it free, and so do symmetric points that are aligned with their "
        "mirror image. Distances between aligned points are well defined."};
  }
  if (caller == "track") {
    return {
        "the overlaps of V",
        "the phase or rotation between two neighbours on the path",
        "They are unique if the eigenvectors of an eigenvalue overlap with those of its neighbours. Expected a path "
        "that is sampled more finely."};
  }
  return {"A", "the unitary factor U", "U is unique if A has full rank. P is unique for every A."};
}

} // namespace spectralgrad
