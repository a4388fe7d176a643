#pragma once

#include <spectralgrad/export.h>

namespace spectralgrad {

/// A function that the calling thread runs at intervals during a long computation over a batch. If it throws, the
/// computation stops and the caller gets the exception. This takes less than a second if each single matrix does. Null,
/// the default, means no check.
///
/// The Python package sets a check that handles signals, so that Ctrl-C works.
using InterruptCheck = void (*)();

/// Sets the check of the process and returns the previous one. Any thread may call it.
///
/// ```
/// auto previous = spectralgrad::exchange_interrupt_check([] { /* throw, to stop */ });
/// spectralgrad::exchange_interrupt_check(previous);
/// ```
SPECTRALGRAD_API InterruptCheck exchange_interrupt_check(InterruptCheck check);

} // namespace spectralgrad
