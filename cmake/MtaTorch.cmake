# The targets mta_torch and mta_torch_cuda: LibTorch's headers as SYSTEM includes, and its libraries.
#
# mta_torch is the CPU part, for libraries and their tests: loading the CUDA libraries adds 0.3 s to
# the start of each process. mta_torch_cuda adds them, for the program, the code that names CUDA
# types and the tests of label cuda; in a build without CUDA it is the same as mta_torch.
#
# LibTorch's own CMake files insist on the whole CUDA toolkit when the wheel was built for CUDA, so
# a CPU-only build could not use them. The few libraries are named here instead: torch_cpu and c10,
# and with CUDA torch_cuda and c10_cuda too.
set(MTA_TORCH_VERSION 2.11)

# The version of the LibTorch at `dir`, such as 2.11.0; empty if there is none.
function(mta_torch_version dir out)
  set(version "")
  set(header ${dir}/include/torch/headeronly/version.h)
  if(EXISTS ${header} AND EXISTS ${dir}/lib/libtorch_cpu.so)
    file(STRINGS ${header} lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
    list(JOIN numbers "." version)
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

# Folders that may hold LibTorch, in order of preference (scripts/setup looks in the same ones).
function(mta_torch_candidates out)
  set(dirs "")
  string(REPLACE ":" ";" environment "$ENV{CMAKE_PREFIX_PATH}")
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH environment)
    # A LibTorch, a folder with Python packages, or what torch.utils.cmake_prefix_path names.
    list(APPEND dirs ${prefix} ${prefix}/torch ${prefix}/../..)
  endforeach()
  list(APPEND dirs ${PROJECT_SOURCE_DIR}/.deps/python/torch)
  find_program(MTA_PYTHON3 python3)
  if(MTA_PYTHON3)
    execute_process(
      COMMAND ${MTA_PYTHON3} -c
              "import importlib.util as u; s = u.find_spec('torch'); print(*(s.submodule_search_locations if s else []))"
      OUTPUT_VARIABLE python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND dirs ${python_torch})
  endif()
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

set(MTA_TORCH_DIR "")
set(seen "")
mta_torch_candidates(candidates)
foreach(dir IN LISTS candidates)
  mta_torch_version(${dir} version)
  if(version VERSION_GREATER_EQUAL MTA_TORCH_VERSION AND
     version VERSION_LESS ${MTA_TORCH_VERSION}.999)
    file(REAL_PATH ${dir} MTA_TORCH_DIR)
    break()
  elseif(version)
    list(APPEND seen "${dir} has ${version}")
  endif()
endforeach()
if(NOT MTA_TORCH_DIR)
  list(JOIN seen ", " seen)
  message(FATAL_ERROR "LibTorch ${MTA_TORCH_VERSION} not found in CMAKE_PREFIX_PATH, .deps/python or "
                      "python3 (${seen}): run scripts/setup")
endif()
message(STATUS "mta: LibTorch ${version} in ${MTA_TORCH_DIR}")

# The wheel's include folder has a newer fmt than the library that we link. A folder that holds
# nothing but the right one goes first.
find_path(MTA_FMT_DIR fmt/core.h HINTS ${fmt_DIR}/../../../include REQUIRED)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include)
file(CREATE_LINK ${MTA_FMT_DIR}/fmt ${PROJECT_BINARY_DIR}/include/fmt SYMBOLIC)

# at::parallel_for is a template of LibTorch's headers that is a plain loop where the compiler does
# not know OpenMP. The wheel's own libgomp has the system's name, so that a process has one of them; a
# flag, not OpenMP::OpenMP_CXX, because CMake warns of two folders that have the name.
find_package(OpenMP REQUIRED COMPONENTS CXX)

add_library(mta_torch INTERFACE)
target_include_directories(mta_torch SYSTEM INTERFACE
  ${PROJECT_BINARY_DIR}/include
  ${MTA_TORCH_DIR}/include ${MTA_TORCH_DIR}/include/torch/csrc/api/include)
target_link_libraries(mta_torch INTERFACE
  ${MTA_TORCH_DIR}/lib/libtorch_cpu.so ${MTA_TORCH_DIR}/lib/libc10.so Threads::Threads)
target_compile_options(mta_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)
target_link_options(mta_torch INTERFACE $<$<LINK_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)

add_library(mta_torch_cuda INTERFACE)
target_link_libraries(mta_torch_cuda INTERFACE mta_torch)
if(MTA_WITH_CUDA)
  if(NOT EXISTS ${MTA_TORCH_DIR}/lib/libtorch_cuda.so)
    message(FATAL_ERROR "CUDA is on, but the LibTorch in ${MTA_TORCH_DIR} is CPU-only: "
                        "configure with -DMTA_CUDA=OFF")
  endif()
  if(MTA_TORCH_DIR MATCHES "/.deps/python/torch$" AND NOT EXISTS ${MTA_TORCH_DIR}/../nvidia/cudnn)
    message(FATAL_ERROR "CUDA is on, but .deps/python lacks the libraries of libtorch_cuda.so: run "
                        "scripts/setup, or configure with -DMTA_CUDA=OFF")
  endif()
  # Nothing names a symbol of libtorch_cuda: loading it registers the CUDA kernels, and linkers that
  # default to --as-needed (Ubuntu's) would drop it.
  target_link_libraries(mta_torch_cuda INTERFACE
    -Wl,--push-state,--no-as-needed ${MTA_TORCH_DIR}/lib/libtorch_cuda.so -Wl,--pop-state
    ${MTA_TORCH_DIR}/lib/libc10_cuda.so CUDA::cudart)
endif()
