// `mta decode`: what a trained model writes after a prompt.
#include "lib/model/decode.h"

#include "apps/mta/commands.h"
#include "lib/run/trained.h"
#include "lib/train/device.h"

#include <ATen/core/Tensor.h>

#include <ostream>

namespace mta {

int run_decode(const DecodeOptions& options, std::ostream& out) {
  const TrainedModel trained = load_trained(options.run, options.device);
  const Task& task = *trained.experiment.task;
  std::vector<std::int32_t> prompt;
  try {
    prompt = task.encode_prompt(options.prompt);
  } catch (const UserError& error) {
    throw UserError("--prompt", error.what());
  }
  const at::Device device = trained.model->parameters().named().front().second.device();
  const WorkStream stream(device);
  std::vector<std::int32_t> answer = greedy(*trained.model, prompt,
                                            {.max_tokens = static_cast<std::int64_t>(options.limit),
                                             .end_token = task.end_token(),
                                             .records = true});
  if (!answer.empty() && answer.back() == task.end_token()) answer.pop_back();
  out << task.decode(answer) << '\n';
  return kDone;
}

}  // namespace mta
