#pragma once

#include <mutex>
#include <optional>
#include <utility>

namespace spectralgrad {

/// A process-wide value that a thread can override. The override is stored by type, so use one instance for each T.
template <typename T>
class ScopedDefault {
 public:
  explicit ScopedDefault(T initial) : process_(std::move(initial)) {}

  /// This thread's override, else the value that `context()` returns, else the process-wide value. Calls `context`
  /// without holding the lock.
  template <typename Context>
  T get(const Context& context) const {
    if (const auto& value = thread_value()) {
      return *value;
    }
    if (auto value = context()) {
      return *std::move(value);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    return process_;
  }

  void set(T value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    process_ = std::move(value);
  }

  /// Sets or clears this thread's override, and returns the previous one.
  static std::optional<T> exchange(std::optional<T> value) {
    return std::exchange(thread_value(), std::move(value));
  }

 private:
  static std::optional<T>& thread_value() {
    thread_local std::optional<T> value;
    return value;
  }

  mutable std::mutex mutex_;
  T process_;
};

} // namespace spectralgrad
