#pragma once

#include <spectralgrad/export.h>

namespace spectralgrad {

/// Called now and then by the thread that waits for a long computation over a batch. What it throws ends the computation, within
/// less than a second where single matrices take less, and is what the caller gets. Null, the default, for nothing.
///
/// The Python package sets one that looks for signals, so that Ctrl-C works.
using InterruptCheck = void (*)();

/// Sets the process's check and returns the one before. Any thread may call it.
SPECTRALGRAD_API InterruptCheck exchange_interrupt_check(InterruptCheck check);

} // namespace spectralgrad
