#include "core/caller_name.h"

#include <utility>

namespace spectralgrad {
namespace {

thread_local std::string name; // "" stands for "eigh"

} // namespace

std::string caller_name() {
  return name.empty() ? "eigh" : name;
}

CallerNameGuard::CallerNameGuard(std::string_view function) : outer_(std::exchange(name, std::string(function))) {}

CallerNameGuard::~CallerNameGuard() {
  name = std::move(outer_);
}

} // namespace spectralgrad
