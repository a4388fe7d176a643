#pragma once

#include "core/optional_tensor.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What operations on Hermitian matrices share about their arguments.
namespace spectralgrad::ops {

/// Raises unless `A` is (*, n, n) of a supported dtype and `UPLO` is a triangle; in torch.linalg's words and types. `name` is
/// what the function calls A.
void check_hermitian_arguments(
    const char* function,
    const at::Tensor& A,
    std::string_view UPLO,
    std::string_view name = "A");

/// Whether a triangle that has been checked is the upper one.
inline bool is_upper(std::string_view UPLO) {
  return UPLO == "U" || UPLO == "u";
}

/// Which matrix a sentence is about, in torch's words; nothing where there is only one.
std::string batch_element(bool is_batch, int64_t matrix);

/// For each matrix of the batch (*), whether the triangle that is read holds a NaN or an Inf; bool.
at::Tensor is_not_finite(const at::Tensor& A, std::string_view UPLO);

/// Raises `c10::LinAlgError` naming an entry where the triangle that is read holds a NaN or an Inf.
void check_finite(const char* function, const at::Tensor& A, std::string_view UPLO, std::string_view name = "A");

/// Calls `f`, with what it raises in the name of `from` in that of `function`: the one that was called.
template <typename F>
auto in_the_name_of(const std::string& function, const std::string& from, F&& f) {
  try {
    return f();
  } catch (const c10::LinAlgError& error) {
    const std::string message = error.what_without_backtrace();
    const auto start = "spectralgrad." + from + ":";
    TORCH_CHECK_LINALG(
        false,
        message.find(start) == 0 ? "spectralgrad." + function + message.substr(start.size() - 1) : message);
  }
}

/// Copies a result into a tensor given as out=, with torch's checks of dtype and device and its way of resizing.
void write_out(const at::Tensor& result, const at::Tensor& out);

/// Raises in torch's words where an out= variant would have to be differentiated.
void check_out_not_differentiated(const char* function, at::TensorList tensors);

/// A rule as two arguments of an operator's schema, `str? rule, float[] parameters`: names rather than objects, so that
/// graphs that contain the operator can be printed, exported and stored. No name means the default in force.
using RuleName = std::optional<std::string_view>;
using RuleParameters = c10::ArrayRef<double>;

inline Rule resolve_rule(const RuleName& name, RuleParameters parameters) {
  return name ? Rule::parse(*name, parameters) : default_rule();
}

/// The two arguments of a rule, owned.
struct EncodedRule {
  explicit EncodedRule(const Rule& rule) : name(rule.name()), parameters(rule.parameters()) {}
  std::string name;
  std::vector<double> parameters;
};

} // namespace spectralgrad::ops
