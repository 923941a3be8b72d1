#include "text/jinja/memory_budget.h"

#include <string>

#include "text/jinja/value.h"

namespace llm_tp::jinja {
namespace {

thread_local MemoryBudget* current = nullptr;

}  // namespace

MemoryBudget::MemoryBudget(std::size_t bytes) : bytes_(bytes) { current = this; }

MemoryBudget::~MemoryBudget() { current = nullptr; }

MemoryBudget::Part::Part(std::size_t bytes) : budget_(current), bytes_(bytes) {
  if (!budget_) return;
  if (bytes > budget_->bytes_ - budget_->taken_)
    throw Failure("the template's values need more than " + std::to_string(budget_->bytes_ >> 20) + " MiB");
  budget_->taken_ += bytes;
}

MemoryBudget::Part::~Part() {
  if (budget_) budget_->taken_ -= bytes_;
}

}  // namespace llm_tp::jinja
