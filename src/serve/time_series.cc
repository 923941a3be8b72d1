#include "serve/time_series.h"

namespace llm_tp {

void TimeSeries::add(double seconds, double value) {
  while (seconds >= slot_seconds_ * static_cast<double>(kMostSlots)) {
    for (std::size_t i = 0; i < slots_.size(); i += 2) {
      Slot both = slots_[i];
      if (i + 1 < slots_.size()) both.sum += slots_[i + 1].sum, both.count += slots_[i + 1].count;
      slots_[i / 2] = both;
    }
    slots_.resize((slots_.size() + 1) / 2);
    slot_seconds_ *= 2;
  }
  const auto slot = static_cast<std::size_t>(seconds / slot_seconds_);
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  slots_[slot].sum += value;
  ++slots_[slot].count;
}

}  // namespace llm_tp
