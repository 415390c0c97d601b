# Everything that scripts/setup downloads from PyPI, by version. Sourced by scripts/setup.

# LibTorch: the wheel holds its headers and libraries. cmake/MtaTorch.cmake accepts the same 2.11.
torch_version=2.11
torch_pins=(torch==2.11.0)

# What the wheel's Python half imports: tests/ops/python_op_test.py loads the operator there.
python_torch_pins=(
  filelock==4.2.12
  fsspec==2026.9.0
  jinja2==3.1.6
  markupsafe==3.0.4
  mpmath==1.3.0
  networkx==3.6.1
  setuptools==81.0.0
  sympy==1.14.0
  typing_extensions==4.16.0
)

# libtorch_cpu.so of that wheel loads these two, GPU or not.
cpu_pins=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)

# What libtorch_cuda.so loads besides; 2.7 GB, so only where nvcc is.
cuda_pins=(
  nvidia-cublas==13.1.0.3
  nvidia-cuda-nvrtc==13.0.88
  nvidia-cudnn-cu13==9.19.0.56
  nvidia-cufft==12.0.0.61
  nvidia-cufile==1.15.1.6
  nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66
  nvidia-cusparse==12.6.3.3
  nvidia-cusparselt-cu13==0.8.0
  nvidia-nccl-cu13==2.28.9
  nvidia-nvjitlink==13.0.88
  nvidia-nvshmem-cu13==3.4.5
  nvidia-nvtx==13.0.85
)

# Tests read our files with these from Python.
reader_pins=(numpy==2.4.6 safetensors==0.8.0)

# plotly.js comes in the wheel of its Python package.
plotly_pin=plotly==7.1.0

# `make check`: another clang-format formats differently; for clang-tidy see .clang-tidy.
clang_format_version=14
clang_tidy_version=16
