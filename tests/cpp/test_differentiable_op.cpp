#include "support.h"

#include "autograd/differentiable_op.h"

// Tests autograd/differentiable_op.h with an operation that is easily checked by hand: two inputs, two outputs, one
// option.
namespace spectralgrad::autograd {
namespace {

struct ScaledProductAndSum {
  static constexpr const char* name = "ScaledProductAndSum";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;

  struct Options {
    double scale;
    void save(Dictionary& dictionary) const {
      dictionary["scale"] = scale;
    }
    static Options load(const Dictionary& dictionary) {
      return {dictionary.at("scale").toDouble()};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {options.scale * inputs[0] * inputs[1], inputs[0] + inputs[1]};
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const auto part = [&](const Tensor& other) {
      Tensor result = cotangents[1];
      if (cotangents[0].defined()) {
        const auto product = options.scale * cotangents[0] * other;
        result = result.defined() ? result + product : product;
      }
      return result;
    };
    return {part(saved.inputs[1]), part(saved.inputs[0])};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    Tensor product;
    Tensor sum;
    for (int i = 0; i < 2; ++i) {
      if (tangents[i].defined()) {
        const auto term = options.scale * tangents[i] * saved.inputs[1 - i];
        product = product.defined() ? product + term : term;
        sum = sum.defined() ? sum + tangents[i] : tangents[i];
      }
    }
    return {product, sum};
  }
};

using Op = ScaledProductAndSum;

using testing::contains;
using testing::DualLevel;

class DifferentiableOp : public ::testing::Test {
 protected:
  Tensor x = at::tensor({2., 3.}, at::kDouble).requires_grad_();
  Tensor y = at::tensor({5., 7.}, at::kDouble).requires_grad_();
};

TEST_F(DifferentiableOp, RecordsNothingWhereNothingIsDifferentiated) {
  EXPECT_FALSE(differentiable<Op>({x.detach(), y.detach()}, {10})[0].requires_grad());
  const at::NoGradGuard guard;
  EXPECT_FALSE(differentiable<Op>({x, y}, {10})[0].requires_grad());
}

TEST_F(DifferentiableOp, OrdinaryReverseModeGoesThroughAFunction) {
  const auto outputs = differentiable<Op>({x, y}, {10});
  EXPECT_PRED2(contains, outputs[0].grad_fn()->name(), "OrdinaryFunction");
  const auto gradients = torch::autograd::grad({outputs[0].sum() + outputs[1].sum()}, {x, y});
  EXPECT_TRUE(gradients[0].equal(10 * y.detach() + 1));
  EXPECT_TRUE(gradients[1].equal(10 * x.detach() + 1));
}

TEST_F(DifferentiableOp, CotangentsOfUnusedOutputsStayUndefined) {
  const auto outputs = differentiable<Op>({x, y}, {10});
  EXPECT_TRUE(torch::autograd::grad({outputs[1].sum()}, {x})[0].equal(at::ones({2}, at::kDouble)));
}

TEST_F(DifferentiableOp, SecondDerivatives) {
  const auto product = differentiable<Op>({x, y}, {10})[0];
  const auto first = torch::autograd::grad({(product * product).sum()}, {x}, {}, true, true)[0];
  EXPECT_TRUE(first.allclose(200 * x * y * y));
  EXPECT_TRUE(torch::autograd::grad({first.sum()}, {y})[0].allclose(400 * x * y));
}

TEST_F(DifferentiableOp, TangentsGoThroughARecordedNode) {
  const DualLevel level;
  auto dual = x.detach().clone();
  dual._set_fw_grad(at::tensor({1., -1.}, at::kDouble), 0, false);
  const auto outputs = differentiable<Op>({dual, y}, {10});
  EXPECT_PRED2(contains, outputs[0].grad_fn()->name(), "ScaledProductAndSumBackward");
  EXPECT_TRUE(outputs[0]._fw_grad(0).allclose(at::tensor({50., -70.}, at::kDouble)));
  EXPECT_TRUE(outputs[1]._fw_grad(0).allclose(at::tensor({1., -1.}, at::kDouble)));
  // Reverse mode through the same call: the gradient of the tangent equals the tangent of the gradient.
  const auto of_tangent = torch::autograd::grad({outputs[0]._fw_grad(0).sum()}, {y}, {}, true)[0];
  EXPECT_TRUE(of_tangent.allclose(at::tensor({10., -10.}, at::kDouble)));
  const auto of_value = torch::autograd::grad({outputs[0].sum()}, {y}, {}, true, true)[0];
  EXPECT_TRUE(of_value._fw_grad(0).allclose(at::tensor({10., -10.}, at::kDouble)));
}

TEST_F(DifferentiableOp, ReleasedGraphsSayWhy) {
  const DualLevel level;
  auto dual = x.detach().clone();
  dual._set_fw_grad(at::ones({2}, at::kDouble), 0, false);
  for (const auto& first : {x, dual}) {
    const auto loss = differentiable<Op>({first, y}, {10})[0].sum();
    torch::autograd::grad({loss}, {y});
    try {
      torch::autograd::grad({loss}, {y});
      ADD_FAILURE() << "expected an error";
    } catch (const c10::Error& error) {
      EXPECT_PRED2(contains, error.what_without_backtrace(), "backward through the graph a second time");
    }
  }
}

} // namespace
} // namespace spectralgrad::autograd
