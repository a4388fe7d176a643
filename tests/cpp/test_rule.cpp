#include "support.h"

#include <spectralgrad/rule.h>

#include <sstream>
#include <thread>

namespace spectralgrad::testing {
namespace {

std::vector<Rule> examples() {
  return {
      Rule::gated(),
      Rule::gated(8, 1),
      Rule::lorentzian(1e-3),
      Rule::lorentzian(1e-3, true),
      Rule::lorentzian_from_epsilon(1e-12),
      Rule::split(),
      Rule::split(1e-4),
      Rule::split({}, 2),
      Rule::cutoff(1e-6),
      Rule::cutoff(1e-6, true),
      Rule::bare()};
}

TEST(Rule, ComparesByValue) {
  const auto rules = examples();
  for (size_t i = 0; i < rules.size(); ++i) {
    for (size_t j = 0; j < rules.size(); ++j) {
      EXPECT_EQ(rules[i] == rules[j], i == j) << rules[i] << " and " << rules[j];
    }
  }
}

TEST(Rule, TravelsAsNameAndParameters) {
  for (const auto& rule : examples()) {
    EXPECT_EQ(Rule::parse(rule.name(), rule.parameters()), rule) << rule;
  }
  EXPECT_EQ(Rule::parse("gated"), Rule::gated());
  EXPECT_EQ(Rule::parse("split"), Rule::split());
}

TEST(Rule, Prints) {
  std::ostringstream out;
  out << Rule::gated() << "; " << Rule::lorentzian(1e-6, true) << "; " << Rule::split({}, 2) << "; " << Rule::bare();
  EXPECT_EQ(out.str(), "Gated(noise=4, width=2); Lorentzian(1e-06, relative=True); Split(order=2); Bare()");
}

TEST(Rule, FromEpsilonTakesTheSquareRoot) {
  EXPECT_EQ(Rule::lorentzian_from_epsilon(1e-12).width(), 1e-6);
}

TEST(Rule, BadParametersGetASentence) {
  EXPECT_RAISES(
      Rule::lorentzian(-1),
      c10::ValueError,
      "spectralgrad.Lorentzian: Expected width to be a finite number >= 0, but got -1");
  EXPECT_RAISES(Rule::cutoff(-1e-3), c10::ValueError, "spectralgrad.Cutoff: Expected width to be a finite number >= 0");
  EXPECT_RAISES(Rule::split(-1.), c10::ValueError, "spectralgrad.Split: Expected width to be a finite number >= 0");
  EXPECT_RAISES(Rule::split({}, 3), c10::ValueError, "spectralgrad.Split: Expected order to be 1 or 2, but got 3");
  EXPECT_RAISES(Rule::gated(std::nan("")), c10::ValueError, "spectralgrad.Gated: Expected noise to be a finite number");
  EXPECT_RAISES(
      Rule::lorentzian_from_epsilon(-1e-12),
      c10::ValueError,
      "spectralgrad.Lorentzian.from_epsilon: Expected epsilon");
  EXPECT_RAISES(Rule::parse("gauss"), c10::ValueError, "Expected rule to be one of \"gated\", .*, but got \"gauss\"");
  EXPECT_RAISES(Rule::parse("bare", {1.}), c10::ValueError, "to come with 0 to 0 parameters, but got 1");
}

TEST(Rule, DefaultIsScopedToTheThreadThenToTheProcess) {
  EXPECT_EQ(default_rule(), Rule::gated());
  set_default_rule(Rule::bare());
  {
    const RuleGuard outer(Rule::split());
    {
      const RuleGuard inner(Rule::cutoff(1));
      EXPECT_EQ(default_rule(), Rule::cutoff(1));
      std::thread([] { EXPECT_EQ(default_rule(), Rule::bare()); }).join();
    }
    EXPECT_EQ(default_rule(), Rule::split());
  }
  EXPECT_EQ(default_rule(), Rule::bare());
  set_default_rule(Rule::gated());
}

} // namespace
} // namespace spectralgrad::testing
