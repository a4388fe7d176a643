# The library and its users run where there is no Python: nothing that they load, directly or not, is part of it.
cmake_minimum_required(VERSION 3.25)

file(
  GET_RUNTIME_DEPENDENCIES
  EXECUTABLES ${CONSUMER}
  LIBRARIES ${LIBRARY}
  RESOLVED_DEPENDENCIES_VAR resolved
  UNRESOLVED_DEPENDENCIES_VAR unresolved)

foreach(expected IN ITEMS libspectralgrad libtorch_cpu)
  if(NOT resolved MATCHES "/${expected}\\.so")
    message(FATAL_ERROR "${CONSUMER} should load ${expected}; it loads ${resolved}, and ${unresolved} is not found")
  endif()
endforeach()

set(python ${resolved} ${unresolved})
list(FILTER python INCLUDE REGEX "(libpython[^/]*|libtorch_python\\.so[^/]*)$")
if(python)
  message(FATAL_ERROR "${CONSUMER} and ${LIBRARY} must not load ${python}")
endif()
