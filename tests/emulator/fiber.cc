// Never compiled with a sanitizer, which is told of the switches instead: they are not part of the program
// under test.
#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#ifdef LLM_TP_EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef LLM_TP_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
#endif

extern "C" void llm_tp_switch_stack(void** save, void* load);

// Saves the registers that a call preserves, changes the stack, restores them.
asm(R"(
.text
.globl llm_tp_switch_stack
.type llm_tp_switch_stack, @function
llm_tp_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size llm_tp_switch_stack, . - llm_tp_switch_stack
)");

namespace llm_tp::emulator {
namespace {

constexpr std::size_t kGuardBytes = 4096;
void* host_stack_pointer = nullptr;
#ifdef LLM_TP_EMULATOR_ASAN
const void* host_stack_bottom = nullptr;
std::size_t host_stack_bytes = 0;
#endif
#ifdef LLM_TP_EMULATOR_TSAN
void* host_race_context = nullptr;
#endif

}  // namespace

Fiber::Fiber() {
  void* const memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  stack_ = memory_ + kGuardBytes;
  mprotect(memory_, kGuardBytes, PROT_NONE);
#ifdef LLM_TP_EMULATOR_TSAN
  race_context_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef LLM_TP_EMULATOR_TSAN
  __tsan_destroy_fiber(race_context_);
#endif
  munmap(memory_, kGuardBytes + kStackBytes);
}

void Fiber::reset(void (*entry)()) {
#ifdef LLM_TP_EMULATOR_ASAN
  if (!ended_) __asan_unpoison_memory_region(stack_, kStackBytes);  // frames that never returned
  fake_stack_ = nullptr;
#endif
  ended_ = false;
  // As after a call of llm_tp_switch_stack that will return into entry: six registers, and an unused return
  // address so that entry finds the stack aligned as a called function does.
  auto* top = reinterpret_cast<std::uintptr_t*>(stack_ + kStackBytes);
  *--top = 0;
  *--top = reinterpret_cast<std::uintptr_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  stack_pointer_ = top;
}

void Fiber::resume() {
#ifdef LLM_TP_EMULATOR_TSAN
  host_race_context = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(race_context_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef LLM_TP_EMULATOR_ASAN
  void* host_fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&host_fake_stack, stack_, kStackBytes);
#endif
  llm_tp_switch_stack(&host_stack_pointer, stack_pointer_);
#ifdef LLM_TP_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(host_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave(bool ends) {
  ended_ = ends;
#ifdef LLM_TP_EMULATOR_TSAN
  __tsan_switch_to_fiber(host_race_context, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef LLM_TP_EMULATOR_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake_stack_, host_stack_bottom, host_stack_bytes);
#endif
  llm_tp_switch_stack(&stack_pointer_, host_stack_pointer);
#ifdef LLM_TP_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &host_stack_bottom, &host_stack_bytes);
#endif
}

void Fiber::arrived() {
#ifdef LLM_TP_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &host_stack_bottom, &host_stack_bytes);
#endif
}

#ifdef LLM_TP_EMULATOR_TSAN
AsHost::AsHost() : fiber_(__tsan_get_current_fiber()) {
  __tsan_switch_to_fiber(host_race_context, __tsan_switch_to_fiber_no_sync);
}
AsHost::~AsHost() { __tsan_switch_to_fiber(fiber_, __tsan_switch_to_fiber_no_sync); }
void Fiber::publish_for(void* object) {
  void* const caller = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(race_context_, __tsan_switch_to_fiber_no_sync);
  __tsan_release(object);
  __tsan_switch_to_fiber(caller, __tsan_switch_to_fiber_no_sync);
}
void publish(void* object) { __tsan_release(object); }
void observe(void* object) { __tsan_acquire(object); }
#else
AsHost::AsHost() : fiber_(nullptr) {}
AsHost::~AsHost() { static_cast<void>(fiber_); }
void Fiber::publish_for(void*) {}
void publish(void*) {}
void observe(void*) {}
#endif

}  // namespace llm_tp::emulator
