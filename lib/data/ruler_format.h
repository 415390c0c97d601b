// Needle samples in the form that RULER's own evaluation reads.
#pragma once

#include "lib/core/task.h"

namespace mta {

/// {"index", "input", "outputs", "length", "answer_prefix"}: the fields of NVIDIA/RULER's data
/// files. `answer_prefix` is the question turned into the beginning of its answer. Throws UserError
/// for a sample without the facts of the needle task.
Json ruler_record(const Sample& sample);

}  // namespace mta
