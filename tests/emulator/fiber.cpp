#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "the emulator's switch between stacks is written for x86-64"
#endif

// cuda_emulator_switch(save, load): leaves the callee-saved registers on the current stack, stores its pointer to *save
// and goes on where `load` was saved. A new stack holds what the switch pops, then cuda_emulator_start, which calls
// r13(r12).
extern "C" void cuda_emulator_switch(void** save, void* load);
extern "C" void cuda_emulator_start();
asm(R"(
  .text
  .p2align 4
  .globl cuda_emulator_switch
  .type cuda_emulator_switch, @function
cuda_emulator_switch:
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
  popq %rcx
  jmp *%rcx
  .size cuda_emulator_switch, . - cuda_emulator_switch

  .globl cuda_emulator_start
  .type cuda_emulator_start, @function
cuda_emulator_start:
  movq %r12, %rdi
  call *%r13
  ud2
  .size cuda_emulator_start, . - cuda_emulator_start
  .section .note.GNU-stack, "", @progbits
  .text
)");

namespace cuda_emulator {
namespace {

constexpr std::size_t guard_bytes = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t stack_bytes = 256 * 1024;
#else
constexpr std::size_t stack_bytes = 64 * 1024;
#endif

}  // namespace

Fiber::Fiber(void (*body)(void*), void* argument) : body_(body), argument_(argument) {
  void* mapping = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping, guard_bytes, PROT_NONE);
  stack_ = static_cast<char*>(mapping) + guard_bytes;
  restart();
}

Fiber::~Fiber() { munmap(stack_ - guard_bytes, guard_bytes + stack_bytes); }

const char* Fiber::stack_end() const { return stack_ + stack_bytes; }

void Fiber::restart() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
  // Tops at the same place of every stack would fall into the same sets of the caches.
  const std::size_t shift = reinterpret_cast<std::uintptr_t>(this) / 64 * 64 % 4096;
  auto* top = reinterpret_cast<void**>(stack_ + stack_bytes - shift);
  *--top = nullptr;  // where a return address would be; keeps calls aligned to 16 bytes
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&cuda_emulator_start);
  *--top = nullptr;                          // rbp: the end of the chain of frames
  *--top = nullptr;                          // rbx
  *--top = this;                             // r12
  *--top = reinterpret_cast<void*>(&enter);  // r13
  *--top = nullptr;                          // r14
  *--top = nullptr;                          // r15
  stack_pointer_ = top;
  fake_stack_ = nullptr;
}

void Fiber::enter(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &fiber->caller_stack_, &fiber->caller_stack_bytes_);
#endif
  fiber->body_(fiber->argument_);
}

void Fiber::resume() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&caller_fake_stack_, stack_, stack_bytes);
#endif
  cuda_emulator_switch(&caller_stack_pointer_, stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(caller_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
  cuda_emulator_switch(&stack_pointer_, caller_stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &caller_stack_, &caller_stack_bytes_);
#endif
}

}  // namespace cuda_emulator
