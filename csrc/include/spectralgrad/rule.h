#pragma once

#include <spectralgrad/export.h>

#include <c10/util/ArrayRef.h>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace spectralgrad {

/// The formula used for 1/(lambda_j - lambda_i) in the derivatives of an eigenvalue decomposition.
///
/// A `Rule` is an immutable, comparable, printable value. Factory functions create it:
/// ```
/// auto [eigenvalues, eigenvectors] = spectralgrad::eigh(A, "L", spectralgrad::Rule::split());
/// ```
/// Every width is a half-width, in the units of the eigenvalues, or in units of max|lambda| if `relative`. Every
/// factory raises `c10::ValueError` for a negative or non-finite argument.
class SPECTRALGRAD_API Rule {
 public:
  enum class Kind { gated, lorentzian, split, cutoff, bare };

  /// The default. Drops the entries of the cotangent up to `noise` times their typical round-off. For the others, 1/d
  /// is replaced by a Lorentzian of half-width `width`*eps*max|lambda|. The rule does not depend on the scale of A or
  /// of the loss. It is accurate to round-off at every gap if the loss does not depend on the basis inside an
  /// eigenspace of degenerate eigenvalues.
  static Rule gated(std::optional<double> noise = std::nullopt, std::optional<double> width = std::nullopt);

  /// d/(d^2 + width^2), the principal value of 1/d broadened to the half-width `width`.
  static Rule lorentzian(double width, bool relative = false);

  /// d/(d^2 + epsilon), as in the literature. `epsilon` is in squared units of the eigenvalues.
  static Rule lorentzian_from_epsilon(double epsilon);

  /// Moves eigenvalues that are closer than `width`*max|lambda| apart, in the returned values too, and applies the
  /// gated rule to them. `width` defaults to eps^(1/2), or to eps^(1/3) with `order` = 2. Use `order` = 2 for second
  /// derivatives.
  static Rule split(std::optional<double> width = std::nullopt, int order = 1);

  /// 1/d, and 0 for pairs no further apart than `width`.
  static Rule cutoff(double width, bool relative = false);

  /// 1/d, as in torch.linalg.eigh. Gives NaN or Inf if two eigenvalues are equal.
  static Rule bare();

  /// Returns the rule described by the `name()` and `parameters()` of another rule. Missing parameters take their
  /// defaults.
  static Rule parse(std::string_view name, c10::ArrayRef<double> parameters = {});

  Kind kind() const noexcept {
    return kind_;
  }

  /// "gated", "lorentzian", "split", "cutoff" or "bare". Operators take a rule as its name and parameters.
  std::string name() const;
  /// For these names in order: {noise, width}, {width, relative}, {order[, width]}, {width, relative}, {}.
  std::vector<double> parameters() const;

  /// Entries up to this many times their typical round-off are dropped; 0 keeps all.
  double noise() const noexcept {
    return noise_;
  }
  /// The half-width as given to the factory, or its default. Unset for `bare` and for a split of default width.
  std::optional<double> width() const noexcept {
    return width_;
  }
  bool relative() const noexcept {
    return relative_;
  }
  int order() const noexcept {
    return order_;
  }
  /// Whether the rule has a noise gate: whether it depends on the size of the cotangent and not on the gap alone.
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

/// The rule of operations that are called without one: that of the innermost `RuleGuard` of this thread, else the
/// process-wide default, which is `Rule::gated()` until it is set.
SPECTRALGRAD_API Rule default_rule();
SPECTRALGRAD_API void set_default_rule(const Rule& rule);

/// Sets the default rule of this thread, or clears it if `rule` is empty. Returns the previous one. For bindings to
/// languages that cannot use `RuleGuard`.
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
