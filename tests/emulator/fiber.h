#pragma once
#include <cstddef>

namespace llm_tp::emulator {

/// A stack of its own that runs on the calling thread until it switches back. AddressSanitizer and
/// ThreadSanitizer are told of every switch; ThreadSanitizer sees each fiber as a thread, and a switch orders
/// nothing. x86-64 alone.
class Fiber {
 public:
  static constexpr std::size_t kStackBytes = std::size_t{128} << 10;

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() starts `entry` at the top of a fresh stack; what ran before is dropped unfinished.
  /// entry must not return: it ends with leave(true).
  void reset(void (*entry)());
  /// Runs the fiber until it leaves. Called on the host's stack.
  void resume();
  /// Back to resume()'s caller. Called on the fiber's stack. ends: by entry, once all it called has returned;
  /// does not return then.
  void leave(bool ends);
  /// First statement of entry.
  static void arrived();
  /// publish(object) in the fiber's name: for one that never runs again.
  void publish_for(void* object);

 private:
  char* memory_;  // a guard page, then the stack
  char* stack_;
  void* stack_pointer_ = nullptr;
  bool ended_ = true;
  void* fake_stack_ = nullptr;
  void* race_context_ = nullptr;
};

/// While one lives on a fiber, ThreadSanitizer counts what is done as the host's.
class AsHost {
 public:
  AsHost();
  ~AsHost();
  AsHost(const AsHost&) = delete;
  AsHost& operator=(const AsHost&) = delete;

 private:
  void* fiber_;
};

/// Order for ThreadSanitizer: what was done before order_after(x) is over for whoever calls order_before(x)
/// later.
void publish(void* object);
void observe(void* object);

}  // namespace llm_tp::emulator
