# Sets MTA_WITH_CUDA from the option MTA_CUDA and the presence of nvcc, and enables the language.
if(NOT MTA_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "MTA_CUDA=${MTA_CUDA}: must be AUTO, ON or OFF")
endif()

set(MTA_WITH_CUDA OFF)
set(MTA_CUDA_REASON "MTA_CUDA=OFF")
if(NOT MTA_CUDA STREQUAL "OFF")
  find_program(MTA_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(MTA_NVCC)
    set(MTA_WITH_CUDA ON)
  elseif(MTA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MTA_CUDA=ON, but no nvcc in PATH, CUDA_HOME or /usr/local/cuda")
  else()
    set(MTA_CUDA_REASON "no nvcc found")
  endif()
endif()

if(MTA_WITH_CUDA)
  # Machine code for cards from sm_80 on (sm_86 and sm_89 run sm_80's; their smaller shared memory is
  # asked for at run time), for sm_90, and PTX of the newest, from which the driver makes code for
  # later ones. -DCMAKE_CUDA_ARCHITECTURES=native builds for the card at hand only.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
  endif()
  set(CMAKE_CUDA_COMPILER ${MTA_NVCC})
  # One CUDA runtime in the process: LibTorch brings the shared one.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no C++20 for nvcc 13
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  if(NOT CMAKE_CUDA_COMPILER_LAUNCHER AND MTA_CCACHE_COMMAND)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${MTA_CCACHE_COMMAND})
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "mta: CUDA on (nvcc ${CMAKE_CUDA_COMPILER_VERSION}, sm_${CMAKE_CUDA_ARCHITECTURES})")
else()
  message(STATUS "mta: CUDA off (${MTA_CUDA_REASON})")
endif()
