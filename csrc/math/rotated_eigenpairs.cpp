#include "math/rotated_eigenpairs.h"

#include "math/pairs/cluster_pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// 0, 1, ..., n - 1 along the last dimension. Computed from `partners`, so that tensor subclasses (sharded tensors)
/// give a result of their own type.
Tensor places_of(const Tensor& partners) {
  return at::ones_like(partners).cumsum(-1) - 1;
}

/// For `partners` (*, rounds, n): 1 where the partner has a higher index, -1 where it has a lower one, 0 without a
/// partner.
Tensor sign_of(const Tensor& partners, const Tensor& like) {
  const auto places = places_of(partners);
  return (partners > places).to(like.dtype()) - (partners < places).to(like.dtype());
}

/// Gathers the columns of V (*, n, n) at `positions` (*, m, n): (*, m, n, n).
Tensor columns(const Tensor& V, const Tensor& positions) {
  const auto index = positions.unsqueeze(-2);
  auto shape = index.sizes().vec();
  shape[shape.size() - 2] = V.size(-1);
  return V.unsqueeze(-3).expand(shape).gather(-1, index.expand(shape));
}

/// Gathers the entries of x (*, n) at `positions` (*, m, n).
Tensor entries(const Tensor& x, const Tensor& positions) {
  return x.unsqueeze(-2).expand(positions.sizes()).gather(-1, positions);
}

constexpr double angle = 0.39269908169872415481; // pi/8

/// The rotation of `rounds` consecutive sets: z = i if `imaginary`, else 1, and the sign of the angle.
struct Turn {
  bool imaginary;
  double sign;
};

std::vector<Turn> turns(bool is_complex) {
  std::vector<Turn> result{{false, 1}, {false, -1}};
  if (is_complex) {
    result.insert(result.end(), {{true, 1}, {true, -1}});
  }
  return result;
}

} // namespace

int64_t number_of_sets(bool is_complex, int64_t rounds) {
  return static_cast<int64_t>(turns(is_complex).size()) * rounds + 1;
}

RotatedEigenpairs rotated_eigenpairs(const Tensor& eigenvalues, const Tensor& eigenvectors, int64_t rounds) {
  const auto partners = math::partners(eigenvalues, rounds);
  const auto successors = math::successors(eigenvalues).unsqueeze(-2);
  const auto own_values = eigenvalues.unsqueeze(-2);
  const auto other_values = entries(eigenvalues, partners);
  // m -+ d/sqrt(2). Without a partner, the eigenvalue itself.
  const auto turned_values = (own_values + other_values) * 0.5 + (own_values - other_values) * (0.5 * std::sqrt(0.5));
  const auto sign = sign_of(partners, eigenvalues).unsqueeze(-2);
  const auto own = eigenvectors.unsqueeze(-3);
  const auto other = columns(eigenvectors, partners);
  std::vector<Tensor> values;
  std::vector<Tensor> vectors;
  for (const auto& turn : turns(eigenvectors.is_complex())) {
    const auto s = std::sin(turn.sign * angle);
    const c10::Scalar forth = turn.imaginary ? c10::Scalar(c10::complex<double>(0, s)) : c10::Scalar(s); // z sin(t)
    const c10::Scalar back = turn.imaginary ? c10::Scalar(c10::complex<double>(0, s))
                                            : c10::Scalar(-s); // -conj(z) sin(t)
    const auto turned = own * std::cos(angle) + at::where(sign > 0, other * forth, other * back);
    values.push_back(turned_values);
    vectors.push_back(at::where(sign == 0, own, turned));
  }
  values.push_back(entries(eigenvalues, successors));
  vectors.push_back(columns(eigenvectors, successors));
  return {eigenvalues.clone(), eigenvectors.clone(), at::cat(values, -2), at::cat(vectors, -3)};
}

Tensor meetings(const Tensor& partners) {
  const auto places = places_of(partners);
  return (partners.unsqueeze(-1) == places.unsqueeze(-2)).logical_and((partners != places).unsqueeze(-1));
}

Tensor lost_entries(const Tensor& rotated_cotangent, const Tensor& partners, bool is_complex) {
  const auto rounds = partners.size(-2);
  const auto met = meetings(partners).to(rotated_cotangent.dtype());
  const auto sign = sign_of(partners, rotated_cotangent);
  // Re(z G_ab), stored at a and at b.
  const auto entry = [&](int64_t first) {
    const auto difference = [&](int64_t set) {
      const auto g = rotated_cotangent.slice(-2, set * rounds, (set + 1) * rounds);
      return (g - g.gather(-1, partners)) * sign;
    };
    return (difference(first) - difference(first + 1)) * (0.5 * std::sqrt(0.5));
  };
  const auto placed = [&](const Tensor& x) {
    return (met * x.unsqueeze(-1)).sum(-3);
  };
  const auto real = placed(entry(0));
  return is_complex ? at::complex(real, -placed(entry(2) * sign)) : real;
}

Tensor rotated_eigenvalue_tangents(const Tensor& X, const Tensor& partners) {
  const auto real_part = at::real(X);
  const auto met = meetings(partners).to(real_part.dtype());
  const auto sign = sign_of(partners, real_part);
  const auto sum_over_partner = [&](const Tensor& x) {
    return (met * x.unsqueeze(-3)).sum(-1);
  };
  std::vector<Tensor> values;
  for (const auto& turn : turns(X.is_complex())) {
    const auto entry = turn.imaginary ? -sum_over_partner(at::imag(X)) : sum_over_partner(real_part) * sign;
    values.push_back(entry * (turn.sign * std::sqrt(0.5)));
  }
  values.push_back(at::zeros_like(real_part.select(-1, 0)).unsqueeze(-2));
  return at::cat(values, -2);
}

} // namespace spectralgrad::math
