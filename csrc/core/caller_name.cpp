#include "core/caller_name.h"

#include <utility>

namespace spectralgrad {
namespace {

thread_local std::string name; // empty if no guard has set it

} // namespace

std::string caller_name(std::string_view operation) {
  return name.empty() ? std::string(operation) : name;
}

CallerNameGuard::CallerNameGuard(std::string_view function) : outer_(std::exchange(name, std::string(function))) {}

CallerNameGuard::~CallerNameGuard() {
  name = std::move(outer_);
}

} // namespace spectralgrad
