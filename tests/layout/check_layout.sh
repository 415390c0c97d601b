#!/bin/bash
# Checks a source tree's layout: what each folder may include, and how long a file may be.
# Usage: check_layout.sh ROOT. Prints one line a violation; exits 1 if there is any.
set -euo pipefail
cd "$1"
order=tests/layout/order.txt
max_lines=400

folders=()
for folder in lib tasks apps tests; do
  if [ -d "$folder" ]; then folders+=("$folder"); fi
done
mapfile -t sources < <(find "${folders[@]}" -type f \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) | sort)
mapfile -t others < <(find "${folders[@]}" scripts cmake -type f \
  \( -name '*.py' -o -name '*.sh' -o -name '*.cmake' -o -name CMakeLists.txt -o -path 'scripts/*' \) \
  2>/dev/null | sort)
if [ "${#sources[@]}" -eq 0 ]; then
  echo "$1: no source files found: is this the root of the source tree?"
  exit 1
fi

awk -v max_lines="$max_lines" '
  function violation(text) { print file ":" line ": " text; failed = 1 }
  # lib/core/error.h -> lib/core; tasks/needle.h -> tasks
  function folder_of(path,   part, n) {
    n = split(path, part, "/")
    return part[1] == "lib" && n > 1 ? part[1] "/" part[2] : part[1]
  }
  # A line of order.txt; the folders it names stand above it.
  function read_order(   i, other) {
    for (i = 2; i <= NF; ++i) {
      file = FILENAME; line = FNR
      if (!($i in known)) violation($i " must stand above " $1)
      for (other in known) if (($i, other) in allowed) allowed[$1, other]
      allowed[$1, $i]
    }
    known[$1]; file = ""
  }
  function end_of_file() {
    if (file == "") return
    if (line > max_lines)
      violation("the file has " line " lines (at most " max_lines "): split it")
    if (file ~ /\.(h|cuh)$/ && !pragma_once) violation("a header without #pragma once")
  }
  function check_include(path, quoted,   to) {
    if (path == "torch/torch.h")
      violation("torch/torch.h takes 15 s to compile: include the headers of what is used")
    if (path ~ /^(torch|ATen|c10|caffe2)\// && folder ~ /^(lib\/core|tasks|lib\/kernels)$/)
      violation(folder " is torch-free, but includes <" path ">")
    if (path ~ /^(CLI|nlohmann|fmt|Random123)\// && folder == "lib/kernels")
      violation(folder " uses CUDA and the standard library only, but includes <" path ">")
    if (path ~ /^CLI\// && folder != "apps")
      violation("command lines are parsed in apps, but " folder " includes <" path ">")
    if (!quoted) return
    to = folder_of(path)
    if (!(to in known))
      violation("\"" path "\": include from the root, such as \"lib/core/error.h\"")
    else if (to != folder && !((folder, to) in allowed))
      violation(folder " may not include \"" path "\": see tests/layout/order.txt")
  }
  FILENAME == ARGV[1] {
    if ($0 !~ /^#/ && NF) read_order()
    next
  }
  FNR == 1 {
    end_of_file()
    file = FILENAME; folder = folder_of(file); pragma_once = 0; line = 1
    if (file ~ /\.(h|cpp|cuh|cu)$/) {
      if (!(folder in known)) violation(folder " has no place in tests/layout/order.txt")
      if ($0 !~ /^\/\/ /) violation("the first line must be a comment that says the job of the file")
    }
  }
  { line = FNR }
  file !~ /\.(h|cpp|cuh|cu)$/ { next }
  /TempDir\(\)|temp_directory_path|"\/tmp/ && file !~ /scratch_folder\.h$/ {
    violation("tests run side by side: use tests/support/scratch_folder.h for files")
  }
  /^#pragma once/ { pragma_once = 1 }
  /^[ \t]*#[ \t]*include[ \t]*["<]/ {
    quoted = $0 ~ /include[ \t]*"/
    path = $0
    sub(/^[^"<]*["<]/, "", path); sub(/[">].*$/, "", path)
    check_include(path, quoted)
  }
  END { end_of_file(); exit failed }
' "$order" "${sources[@]}" "${others[@]}"
