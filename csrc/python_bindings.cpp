// Bindings for what operators cannot have in their schemas: rules as values, the current settings of a thread, Python's
// exception classes, and build information. Tensors go through the dispatcher only, where every transform sees them.
#include <spectralgrad/spectralgrad.h>

#include "autograd/batching.h"
#include "core/caller_name.h"
#include "core/context_defaults.h"
#include "core/tolerances.h"

#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <ATen/Version.h>
#include <torch/version.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>

namespace py = pybind11;
using spectralgrad::Checks;
using spectralgrad::Rule;

namespace {

/// Raises and warns with the package's own classes, in any thread that autograd uses.
class PythonGaugeReporter final : public spectralgrad::GaugeReporter {
 public:
  PythonGaugeReporter(py::object error, py::object warn) : error_(std::move(error)), warn_(std::move(warn)) {}

  void warn(const std::string& message) const override {
    const py::gil_scoped_acquire gil;
    warn_(message);
  }

  [[noreturn]] void raise(const std::string& message) const override {
    const py::gil_scoped_acquire gil;
    PyErr_SetString(error_.ptr(), message.c_str());
    throw py::error_already_set();
  }

 private:
  py::object error_;
  py::object warn_;
};

/// Lets Python handle signals, which it does in its main thread only. An exception of a handler, such as
/// KeyboardInterrupt, ends the computation.
void check_signals() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) {
    throw py::error_already_set();
  }
}

// Never released, because backward may run in threads that outlast the interpreter's modules.
PyObject* rules_variable = nullptr;
PyObject* levels_variable = nullptr;
PyObject* stand_ins_variable = nullptr;

/// Set when the first block is entered. Until then no operation has to wait for the interpreter lock.
std::atomic<bool> context_is_used{false};

/// The innermost entry of a context variable of python/spectralgrad/_current.py; null if there is none.
py::object innermost_entry(PyObject* variable) {
  PyObject* entries = nullptr;
  if (PyContextVar_Get(variable, nullptr, &entries) != 0) {
    throw py::error_already_set();
  }
  const auto blocks = py::reinterpret_steal<py::tuple>(entries);
  return blocks.empty() ? py::object() : py::object(blocks[blocks.size() - 1]);
}

/// The value of the innermost entry, as a C++ value.
template <typename T>
std::optional<T> innermost(PyObject* variable) {
  if (!context_is_used) {
    return std::nullopt;
  }
  const py::gil_scoped_acquire gil;
  const auto entry = innermost_entry(variable);
  if (!entry) {
    return std::nullopt;
  }
  const py::object value = py::tuple(entry)[2];
  // The entry of a block inside a compiled graph is a function: it returns the block's value while the graph runs, and
  // otherwise the current one.
  return py::isinstance<T>(value) ? value.cast<T>() : value().cast<std::optional<T>>();
}

/// The rule of the innermost `stand_in` block.
std::optional<std::optional<Rule>> innermost_stand_in() {
  if (!context_is_used) {
    return std::nullopt;
  }
  const py::gil_scoped_acquire gil;
  const auto entry = innermost_entry(stand_ins_variable);
  if (!entry || py::tuple(entry)[1].is_none()) {
    return std::nullopt;
  }
  const py::object rule = py::tuple(py::tuple(entry)[1])[0];
  return rule.is_none() ? std::optional<Rule>() : rule.attr("_encoded")().cast<Rule>();
}

/// `CallerNameGuard` as a context manager. An object may be entered once at a time.
class CallerName {
 public:
  explicit CallerName(std::string function) : function_(std::move(function)) {}
  void enter() {
    guard_ = std::make_unique<spectralgrad::CallerNameGuard>(function_);
  }
  void exit(const py::args& /*exception*/) {
    guard_.reset();
  }

 private:
  std::string function_;
  std::unique_ptr<spectralgrad::CallerNameGuard> guard_;
};

} // namespace

PYBIND11_MODULE(_C, module) {
  spectralgrad::exchange_interrupt_check(check_signals);
  py::register_exception_translator([](std::exception_ptr exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const c10::ValueError& error) {
      PyErr_SetString(PyExc_ValueError, error.what_without_backtrace());
    }
  });

  module.attr("version") = SPECTRALGRAD_VERSION;
  module.attr("built_against_torch") = TORCH_VERSION;
  module.attr("cxx_compiler") = SPECTRALGRAD_CXX_COMPILER;

  // Constants of csrc/core/tolerances.h. `zero_eigenvalue` is in units of n*eps, because n may be symbolic in Python.
  constexpr int64_t one_row = 1;
  module.attr("jet_order") = spectralgrad::tolerances::jet_order;
  module.attr("zero_eigenvalue") = spectralgrad::tolerances::zero_eigenvalue(at::kDouble, one_row) /
      spectralgrad::tolerances::eps(at::kDouble);

  py::class_<Rule>(module, "Rule")
      .def_static(
          "parse",
          [](const std::string& name, const std::vector<double>& parameters) { return Rule::parse(name, parameters); },
          py::arg("name"),
          py::arg("parameters"))
      .def_property_readonly("name", &Rule::name)
      .def_property_readonly("parameters", &Rule::parameters)
      .def(py::self == py::self) // NOLINT(misc-redundant-expression)
      .def("__repr__", &Rule::to_string);

  module.def("default_rule", &spectralgrad::default_rule);
  module.def("set_default_rule", &spectralgrad::set_default_rule);

  py::enum_<Checks>(module, "Checks")
      .value("ignore", Checks::ignore)
      .value("warn", Checks::warn)
      .value("raise", Checks::raise);
  module.def("checks", &spectralgrad::checks);
  module.def("set_checks", &spectralgrad::set_checks);
  module.def("set_context_variables", [](py::object rules, py::object levels, py::object stand_ins) {
    rules_variable = rules.release().ptr();
    levels_variable = levels.release().ptr();
    stand_ins_variable = stand_ins.release().ptr();
    static const spectralgrad::ContextDefaults python_context{
        [] { return innermost<Rule>(rules_variable); },
        [] { return innermost<Checks>(levels_variable); },
        innermost_stand_in};
    spectralgrad::set_context_defaults(&python_context);
  });
  module.def("use_context", [] { context_is_used = true; });
  module.def("set_gauge_reporter", [](py::object error, py::object warn) {
    // Never deleted, because backward may run in threads that outlast the interpreter's modules.
    spectralgrad::set_gauge_reporter(new PythonGaugeReporter(std::move(error), std::move(warn)));
  });

  py::class_<CallerName>(module, "CallerName")
      .def(py::init<std::string>(), py::arg("function"))
      .def("__enter__", &CallerName::enter)
      .def("__exit__", &CallerName::exit);

  module.def("register_batching", &spectralgrad::autograd::register_batching, py::arg("name"), py::arg("one_result"));
  module.def("prepare_standing_in", &spectralgrad::prepare_standing_in);
  module.def("install", &spectralgrad::install);
  module.def("uninstall", &spectralgrad::uninstall);
  module.def("installed", &spectralgrad::installed);
}
