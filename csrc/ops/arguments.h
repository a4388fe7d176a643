#pragma once

#include "core/optional_tensor.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Argument checks and encodings shared by the operators.
namespace spectralgrad::ops {

/// Raises unless `A` is (*, m, n) of a supported dtype and layout. `name` is the name of A in the signature of
/// `function`.
void check_matrix(const char* function, const at::Tensor& A, std::string_view name = "A");

/// Raises unless `A` is (*, n, n) of a supported dtype and layout, in torch.linalg's words.
void check_square_matrix(const char* function, const at::Tensor& A, std::string_view name = "A");

/// Raises unless `A` is (*, n, n) of a supported dtype and layout and `UPLO` names a triangle. Error types and messages
/// follow torch.linalg. `name` is the name of A in the signature of `function`.
void check_hermitian_arguments(
    const char* function,
    const at::Tensor& A,
    std::string_view UPLO,
    std::string_view name = "A");

/// Returns a message about matrices A and B that differ in shape or dtype, or an empty one. `extent` is what it calls
/// the shape, and `name` is the name of B in the signature of the function.
std::string mismatch(const at::Tensor& A, const at::Tensor& B, std::string_view extent, std::string_view name = "B");

/// Whether `UPLO`, checked before, names the upper triangle.
inline bool is_upper(std::string_view UPLO) {
  return UPLO == "U" || UPLO == "u";
}

/// Returns the prefix "(Batch element i): " of an error message, as in torch; empty unless the input is a batch.
std::string batch_element(bool is_batch, int64_t matrix);

/// Returns for each matrix of the batch whether the triangle `UPLO` contains a NaN or an Inf: (*), bool.
at::Tensor is_not_finite(const at::Tensor& A, std::string_view UPLO);

/// Raises `c10::LinAlgError`, naming the first such entry, if the triangle `UPLO` of a matrix contains a NaN or an Inf.
void check_finite(const char* function, const at::Tensor& A, std::string_view UPLO, std::string_view name = "A");

/// Does the same for all entries of matrices (*, m, n).
void check_all_finite(const char* function, const at::Tensor& A, std::string_view name = "A");

/// Copies a result into an out= tensor. Checks dtype and device and resizes as torch does.
void write_out(const at::Tensor& result, const at::Tensor& out);

/// Raises torch's error if a call with out= tensors would have to be differentiated.
void check_out_not_differentiated(const char* function, at::TensorList tensors);

/// A rule as two arguments of an operator's schema, `str? rule, float[] parameters`. Operators take strings and numbers
/// instead of an object, so that graphs that contain them can be printed, exported and stored. No name means the
/// current default rule.
using RuleName = std::optional<std::string_view>;
using RuleParameters = c10::ArrayRef<double>;

inline Rule resolve_rule(const RuleName& name, RuleParameters parameters) {
  return name ? Rule::parse(*name, parameters) : default_rule();
}

/// Owns the two arguments that encode a rule.
struct EncodedRule {
  explicit EncodedRule(const Rule& rule) : name(rule.name()), parameters(rule.parameters()) {}
  std::string name;
  std::vector<double> parameters;
};

} // namespace spectralgrad::ops
