#pragma once

#include <spectralgrad/export.h>

#include <c10/util/ArrayRef.h>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace spectralgrad {

/// How 1/(lambda_j - lambda_i) is formed in the derivatives of an eigenvalue decomposition.
///
/// A `Rule` is an immutable, comparable, printable value; make one with a factory:
/// ```
/// auto [eigenvalues, eigenvectors] = spectralgrad::eigh(A, "L", spectralgrad::Rule::split());
/// ```
/// A width is a half-width, in the units of the eigenvalues, or, where `relative`, in units of max|lambda|.
/// Every factory raises `c10::ValueError` for a width that is negative or not finite.
class SPECTRALGRAD_API Rule {
 public:
  enum class Kind { gated, lorentzian, split, cutoff, bare };

  /// The default. A Lorentzian of half-width `width`*eps*max|lambda|, applied to those entries of the
  /// cotangent that exceed `noise` times their rounding noise; scale-free, exact at every gap for losses that
  /// do not depend on the basis inside an eigenspace through more than rounding.
  static Rule gated(std::optional<double> noise = std::nullopt, std::optional<double> width = std::nullopt);

  /// d/(d^2 + width^2): the principal value of 1/d broadened to a half-width.
  static Rule lorentzian(double width, bool relative = false);

  /// The d/(d^2 + epsilon) of the literature; `epsilon` in squared units of the eigenvalues.
  static Rule lorentzian_from_epsilon(double epsilon);

  /// Eigenvalues closer than `width`*max|lambda| are moved apart in the returned values too, and the gated rule is
  /// applied to what is returned. `width` defaults to eps^(1/2), or to eps^(1/3) with `order` = 2, the
  /// choice for second derivatives.
  static Rule split(std::optional<double> width = std::nullopt, int order = 1);

  /// Pairs closer than `width` are dropped, the others get 1/d.
  static Rule cutoff(double width, bool relative = false);

  /// 1/d, as torch.linalg.eigh has it: NaN where two eigenvalues are equal.
  static Rule bare();

  /// The rule that `name()` and `parameters()` of another one describe; missing parameters take their defaults.
  static Rule parse(std::string_view name, c10::ArrayRef<double> parameters = {});

  Kind kind() const noexcept {
    return kind_;
  }

  /// "gated", "lorentzian", "split", "cutoff" or "bare": how the rule travels through the dispatcher ...
  std::string name() const;
  /// ... together with these numbers: {noise, width}, {width, relative}, {order[, width]}, {width, relative}, {}.
  std::vector<double> parameters() const;

  /// How many times its typical round-off an entry must exceed; 0 keeps everything.
  double noise() const noexcept {
    return noise_;
  }
  /// The half-width as given; unset only for a split of default width.
  std::optional<double> width() const noexcept {
    return width_;
  }
  bool relative() const noexcept {
    return relative_;
  }
  int order() const noexcept {
    return order_;
  }
  /// Whether the rule looks at the size of the cotangent, not at the gap alone.
  bool gates() const noexcept {
    return kind_ == Kind::gated || kind_ == Kind::split;
  }

  std::string to_string() const;

  friend bool operator==(const Rule& a, const Rule& b) noexcept {
    return a.kind_ == b.kind_ && a.noise_ == b.noise_ && a.width_ == b.width_ && a.relative_ == b.relative_ &&
        a.order_ == b.order_;
  }
  friend bool operator!=(const Rule& a, const Rule& b) noexcept {
    return !(a == b);
  }
  friend std::ostream& operator<<(std::ostream& out, const Rule& rule) {
    return out << rule.to_string();
  }

 private:
  explicit Rule(Kind kind) noexcept : kind_(kind) {}

  Kind kind_;
  double noise_ = 0;
  std::optional<double> width_;
  bool relative_ = false;
  int order_ = 1;
};

/// The rule that operations use when they are given none: the innermost `RuleGuard` of this thread, else the
/// process-wide default, which is `Rule::gated()` until it is set.
SPECTRALGRAD_API Rule default_rule();
SPECTRALGRAD_API void set_default_rule(const Rule& rule);

/// Sets this thread's default rule, or with nothing clears it, and returns the one before: what `RuleGuard` is made of,
/// for languages whose scopes are not C++'s.
SPECTRALGRAD_API std::optional<Rule> exchange_thread_rule(std::optional<Rule> rule);

/// Sets the default rule of this thread while it lives.
class SPECTRALGRAD_API RuleGuard {
 public:
  explicit RuleGuard(std::optional<Rule> rule);
  ~RuleGuard();
  RuleGuard(const RuleGuard&) = delete;
  RuleGuard& operator=(const RuleGuard&) = delete;
  RuleGuard(RuleGuard&&) = delete;
  RuleGuard& operator=(RuleGuard&&) = delete;

 private:
  std::optional<Rule> outer_;
};

} // namespace spectralgrad
