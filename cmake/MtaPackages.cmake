# Everything besides LibTorch that we build on; scripts/setup installs what is missing.
macro(mta_find_package name)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${name} not found: run scripts/setup (it says what it installs)")
  endif()
endmacro()

mta_find_package(Threads)
mta_find_package(CLI11)
mta_find_package(nlohmann_json)
mta_find_package(fmt)
mta_find_package(GTest)

# Random123 is headers only; .deps/include lets a source tree carry them to a machine without the
# package.
find_path(MTA_RANDOM123_DIR Random123/philox.h HINTS ${PROJECT_SOURCE_DIR}/.deps/include)
if(NOT MTA_RANDOM123_DIR)
  message(FATAL_ERROR "Random123/philox.h not found in the system or .deps/include: run scripts/setup")
endif()
add_library(mta_random123 INTERFACE)
target_include_directories(mta_random123 SYSTEM INTERFACE ${MTA_RANDOM123_DIR})
