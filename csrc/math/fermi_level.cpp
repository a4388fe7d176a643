#include "math/fermi_level.h"

#include "core/tolerances.h"
#include "math/fermi.h"
#include "math/gaussian_smearing.h"
#include "math/polynomial.h"

#include <ATen/TensorOperators.h>
#include <ATen/native/Math.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/special_erfcx.h>
#include <ATen/ops/special_log_ndtr.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace spectralgrad::math {
namespace {

using at::Tensor;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The Fermi or the Gaussian occupations as logarithms, which do not underflow.
struct LogOccupation {
  bool is_fermi;

  /// ln f(x). Note that 1 - f(x) = f(-x).
  Tensor logarithm(const Tensor& x) const {
    return is_fermi ? log_fermi(x) : at::special_log_ndtr(x * -std::numbers::sqrt2);
  }

  /// -d ln f/dx.
  Tensor hazard(const Tensor& x) const {
    return is_fermi ? fermi(-x) : (2 * std::numbers::inv_sqrtpi) / at::special_erfcx(x);
  }
};

/// Finds the root for occupations that grow with mu. `levels` is (*, n), the others (*, 1), all in double precision.
Tensor only_root(const LogOccupation& f, const Tensor& levels, const Tensor& wanted, const Tensor& temperature) {
  const auto n = levels.size(-1);
  // Balances the electrons above a whole number of filled levels and the holes below it, as logarithms. So a small
  // number is never the difference of large ones.
  const auto whole = wanted.round();
  const auto excess = wanted - whole;
  const auto is_below = at::arange(n, levels.options()) < whole;
  const auto balance = [&](const Tensor& mu) {
    const auto x = (levels - mu) / temperature;
    const auto electrons = at::where(is_below, -infinity, f.logarithm(x));
    const auto holes = at::where(is_below, f.logarithm(-x), -infinity);
    const auto log_electrons = at::logsumexp(at::cat({electrons, (-excess).clamp_min(0).log()}, -1), -1, true);
    const auto log_holes = at::logsumexp(at::cat({holes, excess.clamp_min(0).log()}, -1), -1, true);
    // The derivative of each logarithm with respect to mu is the mean of the hazards.
    const auto slope =
        (at::exp(electrons - log_electrons) * f.hazard(x) + at::exp(holes - log_holes) * f.hazard(-x)).sum(-1, true);
    return std::pair{log_electrons - log_holes, slope / temperature};
  };
  const auto margin = temperature * ((n / at::minimum(wanted, n - wanted)).log() + 2);
  auto low = levels.slice(-1, 0, 1) - margin;
  auto high = levels.slice(-1, n - 1, n) + margin;
  auto mu = (low + high) / 2;
  // Newton's method inside bounds that narrow; a step that leaves them becomes a bisection.
  for (int iteration = 0; iteration < tolerances::largest_number_of_iterations; ++iteration) {
    const auto [value, slope] = balance(mu);
    low = at::where(value <= 0, mu, low);
    high = at::where(value >= 0, mu, high);
    const auto newton = mu - value / slope;
    const auto inside = (newton > low).logical_and(newton < high);
    const auto next = at::where(value == 0, mu, at::where(inside, newton, (low + high) / 2));
    const auto settled =
        (next == mu).logical_or((high - low) <= tolerances::eps(at::kDouble) * at::maximum(low.abs(), high.abs()));
    mu = next;
    if (settled.logical_or(mu.isnan()).all().item<bool>()) {
      break;
    }
  }
  return mu;
}

/// Finds roots of sum f = filling for one matrix, for occupations that are not monotone.
class NearestRoot {
 public:
  NearestRoot(const GaussianSmearing& f, const double* levels, int64_t n, double filling, double kT)
      : f_(f),
        first_(levels),
        last_(levels + n),
        whole_(static_cast<int64_t>(std::round(filling))),
        excess_(filling - std::round(filling)),
        kT_(kT),
        resolution_(tolerances::eps(at::kDouble) * std::max(std::abs(levels[0]), std::abs(levels[n - 1]))),
        terms_(n + 1) {}

  /// The number of electrons at mu minus the filling, as value * e^log_scale.
  struct Surplus {
    double value;
    double log_scale;
  };

  Surplus surplus(double mu) {
    double largest = excess_ == 0 ? -infinity : std::log(std::abs(excess_));
    terms_.back() = {excess_ > 0 ? -1.0 : 1.0, largest};
    for (int64_t i = 0; i < last_ - first_; ++i) {
      terms_[i] = term(i, (first_[i] - mu) / kT_ + f_.shift);
      largest = std::max(largest, terms_[i].log_size);
    }
    double sum = 0;
    for (const auto& x : terms_) {
      sum += x.sign * std::exp(x.log_size - largest);
    }
    return {largest == -infinity ? 0 : sum, largest};
  }

  /// The root nearest to `start`.
  double nearest_to(double start) {
    const auto at_start = surplus(start).value;
    if (!(std::abs(at_start) > 0)) {
      return start;
    }
    Side up{1, start, at_start};
    Side down{-1, start, at_start};
    // The side nearer to `start` takes the next step, so that the nearer root is found first.
    while (!up.ended || !down.ended) {
      auto& side = down.ended || (!up.ended && up.at - start <= start - down.at) ? up : down;
      const auto before = side;
      advance(side);
      if (before.value * side.value <= 0) {
        const auto root = bisect(before, side);
        auto& other = side.direction > 0 ? down : up;
        return nearer_root(start, root, other);
      }
    }
    return start;
  }

 private:
  struct Side {
    double direction;
    double at;
    double value;
    bool ended = false;
  };
  struct Term {
    double sign;
    double log_size;
  };

  /// Levels more than this many kT away are in the tails of f, where the occupation does not change its sign.
  static constexpr double reach = 8;

  /// The contribution of level i to the surplus: its electrons if it should be empty, minus its holes if it should be
  /// full.
  Term term(int64_t i, double z) const {
    const double sign = i < whole_ ? -1 : 1;
    const auto p = evaluate(f_.p, z, 0.0);
    const auto y = sign * z;
    if (y > 0) {
      const auto scaled = calc_erfcx(y) / 2 + sign * p;
      return {scaled < 0 ? -sign : sign, std::log(std::abs(scaled)) - z * z};
    }
    const auto value = std::erfc(y) / 2 + sign * p * std::exp(-z * z);
    return {value < 0 ? -sign : sign, std::log(std::abs(value))};
  }

  /// Takes a step of kT/16, or a longer one if all levels are far away.
  void advance(Side& side) {
    const auto* next = std::upper_bound(first_, last_, side.at);
    const auto above = next == last_ ? infinity : *next - side.at;
    const auto below = next == first_ ? infinity : side.at - *(next - 1);
    const auto ahead = side.direction > 0 ? above : below;
    auto step = std::max(kT_ / 16, 2 * resolution_);
    if (std::min(above, below) > reach * kT_ + 2 * step) {
      if (ahead == infinity) {
        side.ended = true;
        return;
      }
      step = std::max(step, (ahead - reach * kT_) / 16);
    }
    side.at += side.direction * step;
    side.value = surplus(side.at).value;
  }

  double bisect(const Side& one, const Side& other) {
    const auto eps = tolerances::eps(at::kDouble);
    auto a = one.at;
    auto b = other.at;
    while (std::abs(b - a) > eps * std::max({std::abs(a), std::abs(b), kT_ / 1024})) {
      const auto middle = a / 2 + b / 2;
      if (middle == a || middle == b) {
        break;
      }
      const auto value = surplus(middle).value;
      (value * one.value > 0 ? a : b) = middle;
    }
    return b;
  }

  /// Returns `root`, or the root on the other side if it is nearer. Both sides have been searched equally far, up to
  /// one step.
  double nearer_root(double start, double root, Side& other) {
    const auto distance = std::abs(root - start);
    while (!other.ended && std::abs(other.at - start) < distance) {
      const auto before = other;
      advance(other);
      if (before.value * other.value <= 0) {
        const auto found = bisect(before, other);
        return std::abs(found - start) < distance ? found : root;
      }
    }
    return root;
  }

  const GaussianSmearing& f_;
  const double* first_;
  const double* last_;
  int64_t whole_;
  double excess_;
  double kT_;
  double resolution_;
  std::vector<Term> terms_;
};

} // namespace

Tensor fermi_level(Smearing smearing, const Tensor& eigenvalues, const Tensor& filling, const Tensor& kT) {
  const auto n = eigenvalues.size(-1);
  if (filling.numel() == 0) {
    return at::empty_like(filling, at::MemoryFormat::Contiguous);
  }
  const auto levels = eigenvalues.to(at::kDouble);
  const auto wanted = filling.to(at::kDouble).unsqueeze(-1);
  auto temperature = kT.to(at::kDouble).unsqueeze(-1);
  if (smearing != Smearing::fermi) {
    temperature = at::maximum(temperature, tolerances::least_temperature * levels.slice(-1, 0, 1).abs());
    temperature = at::maximum(temperature, tolerances::least_temperature * levels.slice(-1, n - 1, n).abs());
  }
  auto mu = only_root({smearing == Smearing::fermi}, levels, wanted, temperature);
  if (smearing == Smearing::methfessel_paxton || smearing == Smearing::cold) {
    const GaussianSmearing f(smearing);
    const auto all_levels = levels.cpu().contiguous();
    const auto fillings = wanted.cpu().contiguous();
    const auto temperatures = temperature.expand_as(wanted).cpu().contiguous();
    const auto roots = mu.expand_as(wanted).cpu().contiguous().clone();
    auto* root = roots.mutable_data_ptr<double>();
    for (int64_t matrix = 0; matrix < fillings.numel(); ++matrix) {
      if (!std::isfinite(root[matrix])) {
        continue;
      }
      const auto number = fillings.const_data_ptr<double>()[matrix];
      NearestRoot search(
          f,
          all_levels.const_data_ptr<double>() + matrix * n,
          n,
          number,
          temperatures.const_data_ptr<double>()[matrix]);
      const auto [value, log_scale] = search.surplus(root[matrix]);
      const auto rounding = tolerances::eps(eigenvalues.scalar_type()) * number;
      if (smearing == Smearing::cold && std::abs(value) * std::exp(log_scale) <= rounding) {
        continue;
      }
      root[matrix] = search.nearest_to(root[matrix]);
    }
    mu = roots.to(mu.device());
  }
  return mu.squeeze(-1).to(eigenvalues.scalar_type());
}

} // namespace spectralgrad::math
