// Which of the dicts that a PyTorch checkpoint nests is the model's state.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "engine/formats/pickle.h"

namespace nepenthe {

struct PickledWeights {
  std::size_t dict = 0;     // in Pickle::dicts; its entries of a text and a tensor are the weights
  std::string key;          // where it was, as Python spells it: "['checkpoint']['model']"; empty: on its own
  std::string passed_over;  // what else it holds, the first few: "'epoch' (a number), 'args' (an object of …)"
};

/// The dict of tensors that a checkpoint is or holds, under whatever keys, in dicts within dicts. One counts where it
/// has a tensor of floats with a dimension, so that counters, losses and random states are none; where a dict has both
/// tensors and a dict of more of them, it is that one's wrapping. An optimiser's state is never taken. Of several, the
/// one under 'state_dict', 'model_state_dict' or 'model' counts, outer keys before inner ones. Throws Error, in one
/// line beginning with `source`, where there is none (saying what there is) or where several are left (saying their
/// keys).
PickledWeights find_weights(const Pickle& pickle, std::string_view source);

}  // namespace nepenthe
