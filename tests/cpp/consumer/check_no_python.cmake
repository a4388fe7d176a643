# Checks that the library and its users need no Python: they load no Python library, directly or indirectly.
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
