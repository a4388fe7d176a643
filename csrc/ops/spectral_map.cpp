#include <spectralgrad/spectral_map.h>

#include "autograd/constant.h"
#include "autograd/differentiable_once.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "math/pairs/cluster_pairs.h"
#include "math/rotated_eigenpairs.h"
#include "math/spectral_map.h"
#include "ops/arguments.h"

#include <spectralgrad/eigh.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using autograd::variable_list;

constexpr auto once_only =
    "spectralgrad.spectral_map: Expected at most one derivative where eigenvalues are a cluster, but a second one was "
    "asked for; funm, trace_funm, spectral_projector and density_matrix have it.";

std::tuple<Tensor, Tensor, Tensor, Tensor> rotated_kernel(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const autograd::TensorCode tensor_code;
  auto [values, vectors, rotated_values, rotated_vectors] = math::rotated_eigenpairs(eigenvalues, eigenvectors, rounds);
  return {std::move(values), std::move(vectors), std::move(rotated_values), std::move(rotated_vectors)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rotated_meta(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const auto sets = math::number_of_sets(eigenvectors.is_complex(), rounds);
  auto shape = eigenvectors.sym_sizes().vec();
  shape.insert(shape.end() - 2, sets);
  auto vectors = at::empty_symint(shape, eigenvectors.options());
  shape.pop_back();
  return {
      at::empty_like(eigenvalues),
      at::empty_like(eigenvectors),
      at::empty_symint(shape, eigenvalues.options()),
      std::move(vectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::rotated_eigenpairs", rotated_meta> rotated_eigenpairs_op;

/// Inputs: A, eigenvalues, eigenvectors. The last two are constants.
struct RotatedEigenpairs {
  static constexpr const char* name = "RotatedEigenpairs";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  struct Options {
    int64_t rounds;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["rounds"] = rounds;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("rounds").toInt()};
    }
  };

  static variable_list forward(const variable_list& x, const Options& options) {
    return autograd::to_list(rotated_eigenpairs_op.call(x[0], x[1], x[2], options.rounds));
  }

  static variable_list vjp(const variable_list& g, const autograd::Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    const auto gA = math::rotated_eigenpairs_vjp({g[0], g[1], g[2], g[3]}, x[1], x[2], options.rounds);
    return {autograd::differentiable_once(gA, x[0], once_only), Tensor(), Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    if (!tangents[0].defined()) {
      return variable_list(4);
    }
    const auto result = math::rotated_eigenpairs_jvp(tangents[0], x[1], x[2], options.rounds);
    variable_list list;
    for (const auto& tangent : result) {
      list.push_back(tangent.defined() ? autograd::differentiable_once(tangent, x[0], once_only) : tangent);
    }
    return list;
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> rotated_autograd(
    const Tensor& A,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  return autograd::from_list<std::tuple<Tensor, Tensor, Tensor, Tensor>>(
      autograd::differentiable<RotatedEigenpairs>({A, eigenvalues, eigenvectors}, {rounds}));
}

/// Returns `rounds_of_largest_cluster` as a tensor without dimensions, for callers in Python.
Tensor cluster_rounds_kernel(const Tensor& eigenvalues) {
  return at::full({}, math::rounds_of_largest_cluster(eigenvalues), eigenvalues.options().dtype(at::kLong));
}

Tensor cluster_rounds_meta(const Tensor& eigenvalues) {
  return at::empty({}, eigenvalues.options().dtype(at::kLong));
}

} // namespace

std::vector<Tensor> spectral_map(const SpectralFunction& fn, const Tensor& A) {
  TORCH_CHECK_VALUE(fn, "spectralgrad.spectral_map: Expected fn to be a function, but it is empty");
  ops::check_hermitian_arguments("spectral_map", A, "L");
  const auto [eigenvalues, eigenvectors] = [&] {
    const CallerNameGuard guard("spectral_map");
    return eigh(A, "L", Rule::gated());
  }();
  // On the meta device eigenvalues have no values, and the shapes of the results do not depend on clusters.
  const bool has_clusters = autograd::is_differentiated(A) && !eigenvalues.is_meta();
  const auto rounds = has_clusters ? math::rounds_of_largest_cluster(eigenvalues) : 0;
  if (rounds == 0) {
    return fn(eigenvalues, eigenvectors);
  }
  const auto [values, vectors, rotated_values, rotated_vectors] =
      rotated_eigenpairs_op.call(A, autograd::constant(eigenvalues), autograd::constant(eigenvectors), rounds);
  auto results = fn(values, vectors);
  for (int64_t set = 0; set < rotated_values.size(-2); ++set) {
    const auto L = rotated_values.select(-2, set);
    const auto V = rotated_vectors.select(-3, set);
    // The difference is zero, and so is its derivative in tensors that fn uses. Its derivative in A is the part that
    // was lost.
    const auto here = fn(L, V);
    const auto same = fn(autograd::constant(L), autograd::constant(V));
    for (size_t i = 0; i < results.size(); ++i) {
      results[i] = results[i] + (here[i] - same[i]);
    }
  }
  return results;
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "rotated_eigenpairs(Tensor A, Tensor eigenvalues, Tensor eigenvectors, int rounds) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  library.def("cluster_rounds(Tensor eigenvalues) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("rotated_eigenpairs", rotated_kernel);
  library.impl("cluster_rounds", cluster_rounds_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("rotated_eigenpairs", rotated_meta);
  library.impl("cluster_rounds", cluster_rounds_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("rotated_eigenpairs", rotated_autograd);
}

} // namespace spectralgrad
