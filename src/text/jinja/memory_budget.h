#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace llm_tp::jinja {

/// How many bytes the values that a thread makes hold at once, while one render goes on.
///
/// A budget counts what is made on its thread while it lives; it must outlive the values that it counts.
/// Values made without one (a template's constants) count nowhere. Budgets do not nest.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t bytes);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// Bytes taken from this thread's budget while it lives.
  class Part {
   public:
    /// Errors: Failure where the budget has less left.
    explicit Part(std::size_t bytes);
    Part(Part&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    Part& operator=(Part&&) = delete;
    ~Part();

   private:
    MemoryBudget* budget_;
    std::size_t bytes_;
  };

 private:
  std::size_t bytes_, taken_ = 0;
};

/// A shared value that takes `bytes` from the budget until its last owner lets go.
template <typename T>
std::shared_ptr<const T> make_counted(T value, std::size_t bytes) {
  struct Counted {
    T value;
    MemoryBudget::Part part;
  };
  MemoryBudget::Part part(bytes);
  const auto counted = std::make_shared<const Counted>(Counted{std::move(value), std::move(part)});
  return {counted, &counted->value};
}

}  // namespace llm_tp::jinja
