#!/bin/bash
# Breaks each layout rule once in a scratch tree: check_layout.sh must name the place and the rule.
# Usage: check_layout_test.sh ROOT
set -euo pipefail
root=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# A tree that keeps every rule.
fresh_tree() {
  rm -rf "${scratch:?}/tree"
  mkdir -p "$scratch"/tree/{lib/core,lib/kernels,lib/ops,lib/attention,tasks,apps,tests/layout,cmake}
  cp "$root/tests/layout/order.txt" "$scratch/tree/tests/layout/"
  printf '// An error.\n#pragma once\n' >"$scratch/tree/lib/core/error.h"
  printf '// Passes.\n#include "lib/core/error.h"\n#include "tasks/b.h"\n' \
    >"$scratch/tree/apps/main.cpp"
}

# expect FILE MESSAGE LINE...: the tree with this file must be refused with the message.
expect() {
  local file=$1 message=$2 output
  shift 2
  fresh_tree
  mkdir -p "$(dirname "$scratch/tree/$file")"
  printf '%s\n' "$@" >"$scratch/tree/$file"
  if output=$(bash "$root/tests/layout/check_layout.sh" "$scratch/tree"); then
    echo "accepted $file: $*"
    failed=1
  elif [[ $output != "$file:"*"$message"* || $output == *$'\n'* ]]; then
    echo "$file: expected one line with \"$message\", got: $output"
    failed=1
  fi
}

fresh_tree
if ! bash "$root/tests/layout/check_layout.sh" "$scratch/tree"; then
  echo "refused a tree without violations"
  failed=1
fi

expect lib/core/a.cpp 'lib/core is torch-free' '// A.' '#include <ATen/core/Tensor.h>'
expect tasks/a.cpp 'tasks is torch-free' '// A.' '#include <c10/util/Half.h>'
expect lib/kernels/a.cu 'lib/kernels is torch-free' '// A.' '  #  include <torch/types.h>'
expect lib/kernels/a.cu 'standard library only' '// A.' '#include <fmt/core.h>'
expect lib/attention/a.cpp 'torch/torch.h takes' '// A.' '#include <torch/torch.h>'
expect lib/kernels/a.cuh 'may not include "lib/core/error.h"' \
  '// A.' '#pragma once' '#include "lib/core/error.h"'
expect lib/core/a.cpp 'may not include "tasks/b.h"' '// A.' '#include "tasks/b.h"'
expect lib/ops/a.cpp 'may not include "lib/attention/plan.h"' \
  '// A.' '#include "lib/attention/plan.h"'
expect lib/attention/a.cpp 'may not include "tasks/b.h"' '// A.' '#include "tasks/b.h"'
expect lib/core/a.cpp 'include from the root' '// A.' '#include "error.h"'
expect lib/core/a.cpp 'parsed in apps' '// A.' '#include <CLI/CLI.hpp>'
expect lib/oddments/a.cpp 'has no place in tests/layout/order.txt' '// A.'
expect lib/core/a.cpp 'the first line must be a comment' '#include <vector>'
expect lib/core/a.h 'without #pragma once' '// A.'
expect tests/a_test.cpp 'run side by side' '// A.' 'auto path = TempDir() + "a";'
mapfile -t many_lines < <(printf '// A.\n'; seq -f '// %g' 400)
expect lib/core/a.cpp 'the file has 401 lines' "${many_lines[@]}"
expect cmake/a.cmake 'the file has 401 lines' "${many_lines[@]}"

exit "$failed"
