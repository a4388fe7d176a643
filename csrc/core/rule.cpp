#include <spectralgrad/rule.h>

#include "core/context_defaults.h"
#include "core/scoped_default.h"
#include "core/tolerances.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <sstream>
#include <utility>

namespace spectralgrad {
namespace {

void check_size(const char* factory, const char* argument, double value) {
  TORCH_CHECK_VALUE(
      std::isfinite(value) && value >= 0,
      "spectralgrad.",
      factory,
      ": Expected ",
      argument,
      " to be a finite number >= 0, but got ",
      value);
}

ScopedDefault<Rule>& defaults() {
  static ScopedDefault<Rule> rules(Rule::gated());
  return rules;
}

} // namespace

Rule Rule::gated(std::optional<double> noise, std::optional<double> width) {
  Rule rule(Kind::gated);
  rule.noise_ = noise.value_or(tolerances::gate_noise);
  rule.width_ = width.value_or(tolerances::gate_width);
  rule.relative_ = true;
  check_size("Gated", "noise", rule.noise_);
  check_size("Gated", "width", *rule.width_);
  return rule;
}

Rule Rule::lorentzian(double width, bool relative) {
  check_size("Lorentzian", "width", width);
  Rule rule(Kind::lorentzian);
  rule.width_ = width;
  rule.relative_ = relative;
  return rule;
}

Rule Rule::lorentzian_from_epsilon(double epsilon) {
  check_size("Lorentzian.from_epsilon", "epsilon", epsilon);
  return lorentzian(std::sqrt(epsilon));
}

Rule Rule::split(std::optional<double> width, int order) {
  if (width) {
    check_size("Split", "width", *width);
  }
  TORCH_CHECK_VALUE(order == 1 || order == 2, "spectralgrad.Split: Expected order to be 1 or 2, but got ", order);
  Rule rule(Kind::split);
  rule.noise_ = tolerances::gate_noise;
  rule.width_ = width;
  rule.relative_ = true;
  rule.order_ = order;
  return rule;
}

Rule Rule::cutoff(double width, bool relative) {
  check_size("Cutoff", "width", width);
  Rule rule(Kind::cutoff);
  rule.width_ = width;
  rule.relative_ = relative;
  return rule;
}

Rule Rule::bare() {
  return Rule(Kind::bare);
}

std::string Rule::name() const {
  switch (kind_) {
    case Kind::gated:
      return "gated";
    case Kind::lorentzian:
      return "lorentzian";
    case Kind::split:
      return "split";
    case Kind::cutoff:
      return "cutoff";
    case Kind::bare:
      break;
  }
  return "bare";
}

std::vector<double> Rule::parameters() const {
  switch (kind_) {
    case Kind::gated:
      return {noise_, *width_};
    case Kind::lorentzian:
    case Kind::cutoff:
      return {*width_, relative_ ? 1. : 0.};
    case Kind::split:
      return width_ ? std::vector<double>{double(order_), *width_} : std::vector<double>{double(order_)};
    case Kind::bare:
      break;
  }
  return {};
}

Rule Rule::parse(std::string_view name, c10::ArrayRef<double> parameters) {
  const auto parameter = [&](size_t i) {
    return i < parameters.size() ? std::make_optional(parameters[i]) : std::nullopt;
  };
  const auto check_count = [&](size_t least, size_t most) {
    TORCH_CHECK_VALUE(
        least <= parameters.size() && parameters.size() <= most,
        "spectralgrad: Expected the rule \"",
        name,
        "\" to come with ",
        least,
        " to ",
        most,
        " parameters, but got ",
        parameters.size());
  };
  if (name == "gated") {
    check_count(0, 2);
    return gated(parameter(0), parameter(1));
  }
  if (name == "lorentzian") {
    check_count(1, 2);
    return lorentzian(parameters[0], parameter(1).value_or(0) != 0);
  }
  if (name == "split") {
    check_count(0, 2);
    return split(parameter(1), static_cast<int>(parameter(0).value_or(1)));
  }
  if (name == "cutoff") {
    check_count(1, 2);
    return cutoff(parameters[0], parameter(1).value_or(0) != 0);
  }
  TORCH_CHECK_VALUE(
      name == "bare",
      "spectralgrad: Expected rule to be one of \"gated\", \"lorentzian\", \"split\", \"cutoff\", \"bare\", but got \"",
      name,
      "\"");
  check_count(0, 0);
  return bare();
}

std::string Rule::to_string() const {
  std::ostringstream out;
  const auto relative = relative_ ? ", relative=True)" : ")";
  switch (kind_) {
    case Kind::gated:
      out << "Gated(noise=" << noise_ << ", width=" << *width_ << ")";
      break;
    case Kind::lorentzian:
      out << "Lorentzian(" << *width_ << relative;
      break;
    case Kind::split:
      out << "Split(";
      if (width_) {
        out << *width_ << ", ";
      }
      out << "order=" << order_ << ")";
      break;
    case Kind::cutoff:
      out << "Cutoff(" << *width_ << relative;
      break;
    case Kind::bare:
      out << "Bare()";
      break;
  }
  return out.str();
}

Rule default_rule() {
  return defaults().get([] {
    const auto* context = context_defaults();
    return context == nullptr ? std::nullopt : context->rule();
  });
}

void set_default_rule(const Rule& rule) {
  defaults().set(rule);
}

std::optional<Rule> exchange_thread_rule(std::optional<Rule> rule) {
  return ScopedDefault<Rule>::exchange(std::move(rule));
}

RuleGuard::RuleGuard(std::optional<Rule> rule) : outer_(exchange_thread_rule(std::move(rule))) {}

RuleGuard::~RuleGuard() {
  exchange_thread_rule(std::move(outer_));
}

} // namespace spectralgrad
