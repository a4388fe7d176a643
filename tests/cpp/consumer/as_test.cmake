# Installs the library, and builds and runs this program against it. Included by the project's own tests.

set(_prefix ${PROJECT_BINARY_DIR}/install)

add_test(NAME consumer.install COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --component library --prefix
                                       ${_prefix})
set_tests_properties(consumer.install PROPERTIES FIXTURES_SETUP installed_library)

add_test(
  NAME consumer.build_and_run
  COMMAND
    ${CMAKE_CTEST_COMMAND} --build-and-test ${CMAKE_CURRENT_LIST_DIR} ${PROJECT_BINARY_DIR}/consumer
    --build-noclean --build-generator ${CMAKE_GENERATOR} --build-makeprogram ${CMAKE_MAKE_PROGRAM}
    --build-options -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
    -Dspectralgrad_ROOT=${_prefix} -DTorch_DIR=${Torch_DIR}
    --test-command ${CMAKE_CTEST_COMMAND} --output-on-failure --no-tests=error)
set_tests_properties(consumer.build_and_run PROPERTIES FIXTURES_REQUIRED installed_library)
