# The three kinds of target that folders declare: a library, a program, a test program.

# mta_library(name SOURCES ... LIBS ...): a static library, or an INTERFACE one without SOURCES.
function(mta_library name)
  cmake_parse_arguments(PARSE_ARGV 1 L "" "" "SOURCES;LIBS")
  mta_check_arguments(${name} "${L_UNPARSED_ARGUMENTS}")
  if(NOT L_SOURCES)
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${L_LIBS})
    return()
  endif()
  add_library(${name} STATIC ${L_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${L_LIBS} PRIVATE $<BUILD_INTERFACE:mta_flags>)
endfunction()

# mta_program(name SOURCES ... LIBS ...): an executable at <build>/name.
function(mta_program name)
  cmake_parse_arguments(PARSE_ARGV 1 P "" "" "SOURCES;LIBS")
  mta_check_arguments(${name} "${P_UNPARSED_ARGUMENTS}")
  add_executable(${name} ${P_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${P_LIBS} mta_flags)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

# mta_test(name LABEL unit|numerics|cli|cuda|slow SOURCES ... LIBS ... [TIMEOUT seconds] [WHOLE])
#
# Each GoogleTest case becomes the CTest test "<label>.<Suite>.<Case>", run in the source folder with
# MTA_PROGRAM set to the path of build/mta, and one OpenMP thread, as CTest runs one test a core.
# WHOLE adds the program as one CTest test instead: right where starting a process (0.2 s with
# LibTorch, 0.5 s with its CUDA libraries) costs more than the cases.
function(mta_test name)
  cmake_parse_arguments(PARSE_ARGV 1 T "WHOLE" "LABEL;TIMEOUT" "SOURCES;LIBS")
  mta_check_arguments(${name} "${T_UNPARSED_ARGUMENTS}")
  if(NOT T_LABEL MATCHES "^(unit|numerics|cli|cuda|slow)$")
    message(FATAL_ERROR "mta_test(${name}): LABEL is \"${T_LABEL}\" "
                        "(known: unit, numerics, cli, cuda, slow)")
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  mta_timeout(T_TIMEOUT)
  add_executable(${name} ${T_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${T_LIBS} mta_flags GTest::gtest_main)
  # The code under test is optimised in its library; tests compile in two thirds of the time at -O1.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  # Two properties, because gtest_discover_tests takes no list as a value.
  set(properties LABELS ${T_LABEL} TIMEOUT ${T_TIMEOUT}
                 ENVIRONMENT MTA_PROGRAM=${PROJECT_BINARY_DIR}/mta
                 ENVIRONMENT_MODIFICATION OMP_NUM_THREADS=set:1)
  if(T_WHOLE)
    add_test(NAME ${T_LABEL}.${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    # Skipped only where every case was: CTest would call a failed program skipped, too.
    set_tests_properties(${T_LABEL}.${name} PROPERTIES ${properties} SKIP_REGULAR_EXPRESSION
                         "\\[  PASSED  \\] 0 tests\\.\n(\\[  SKIPPED \\][^\n]*\n*)+$")
  else()
    # PRE_TEST: the default runs each program at build time, which fails where a device is missing.
    gtest_discover_tests(${name} TEST_PREFIX ${T_LABEL}. DISCOVERY_MODE PRE_TEST
                         DISCOVERY_TIMEOUT 60 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                         PROPERTIES ${properties})
  endif()
endfunction()

# mta_timeout(variable): leaves more time where sanitizers take it.
function(mta_timeout variable)
  if(CMAKE_BUILD_TYPE STREQUAL "Sanitize")
    math(EXPR ${variable} "5 * ${${variable}}")
    set(${variable} ${${variable}} PARENT_SCOPE)
  endif()
endfunction()

# A misspelt keyword would be swallowed into the list before it or ignored.
function(mta_check_arguments name unparsed)
  if(unparsed)
    message(FATAL_ERROR "${name}: unknown arguments: ${unparsed}")
  endif()
endfunction()

include(GoogleTest)
