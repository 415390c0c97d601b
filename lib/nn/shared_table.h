// A table that is used twice: rows of it by tokens, and as a whole.
#pragma once

#include <ATen/core/Tensor.h>

namespace mta {

struct SharedTable {
  at::Tensor rows;   // [..., D], those that the tokens choose
  at::Tensor whole;  // [V, D], the table itself
};

/// Looks up tokens [...] int64 in `table` [V, D]. On a GPU in fp32 and bf16, for D in eights, and
/// where `whole` has a gradient, that of the rows is added to it in place, in fp32 and rounded once
/// a row: no gradient of the whole table is made for them. Equal calls give equal bits.
SharedTable share_table(const at::Tensor& table, const at::Tensor& tokens);

}  // namespace mta
