#pragma once
#include <cstdint>
#include <span>

namespace llm_tp {

/// What one sequence could run in a step, and what it gets.
struct RowShare {
  std::int32_t waiting = 0;  // rows, above 0
  bool decodes = false;      // else it runs a prompt, or again what it ran before it was preempted
  std::int32_t rows = 0;     // the outcome
};

/// Shares the rows of a step among sequences, the first in line first. Those that decode come first. Of what
/// they leave, the first prompt gets what it needs, or half; the other half is for prompts that fit into it
/// whole; the rest goes to the prompts in their order. So a long prompt holds up no short one, and no number
/// of short ones holds up the first prompt, which has a row even beside a full step of decoding.
void share_rows(std::span<RowShare> all, std::int32_t budget);

}  // namespace llm_tp
