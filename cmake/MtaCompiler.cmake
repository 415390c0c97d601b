# Language level, warnings and build types: everything that applies to all code of our own.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)  # static libraries end up in lib/ops, which Python can load
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)    # clang-tidy reads it

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 11)
  message(FATAL_ERROR "g++ ${CMAKE_CXX_COMPILER_VERSION} is too old for C++20: needs 11 or newer")
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or Sanitize" FORCE)
endif()

# LibTorch's headers make full debug information huge, so sanitizer builds keep line tables only.
set(CMAKE_CXX_FLAGS_SANITIZE
    "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    CACHE STRING "Flags of the build type Sanitize")
set(CMAKE_EXE_LINKER_FLAGS_SANITIZE "-fsanitize=address,undefined"
    CACHE STRING "Linker flags of the build type Sanitize")
set(CMAKE_SHARED_LINKER_FLAGS_SANITIZE "-fsanitize=address,undefined"
    CACHE STRING "Linker flags of the build type Sanitize")

if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(MTA_CCACHE ccache)
  if(MTA_CCACHE)
    # Paths below the source folder count relative to it: another clone finds the same objects.
    set(MTA_CCACHE_COMMAND ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
                           ${MTA_CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${MTA_CCACHE_COMMAND})
  endif()
endif()

# Third-party headers come in as SYSTEM includes, so these flags judge our own code only.
add_library(mta_flags INTERFACE)
target_compile_options(mta_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Werror>
  # Found by the optimiser, differently by each version of GCC, also inside libstdc++ (13.3: a vector
  # of one element copied): worth showing, not worth a failed build.
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:
    -Wno-error=array-bounds -Wno-error=free-nonheap-object -Wno-error=stringop-overflow
    -Wno-error=maybe-uninitialized>
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-Werror>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:--Werror=all-warnings -Xptxas=-warn-spills>")
