// A stack of its own to run a function on, which can be left and entered again.
#pragma once

#include <cstddef>

namespace cuda_emulator {

class Fiber {
 public:
  /// body(argument) starts with the first resume() and must never return.
  Fiber(void (*body)(void*), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Goes on in the fiber until it suspends. Always from the same OS thread.
  void resume();
  /// Back to the caller of resume().
  void suspend();
  /// Forgets what the fiber was at: the next resume() starts the body anew.
  void restart();

  const char* stack_begin() const { return stack_; }
  const char* stack_end() const;

 private:
  static void enter(Fiber* fiber);

  void (*body_)(void*);
  void* argument_;
  char* stack_;
  void* stack_pointer_ = nullptr;         // of the fiber, while suspended
  void* caller_stack_pointer_ = nullptr;  // of resume()'s caller, while the fiber runs
  // AddressSanitizer's, of both sides.
  void* fake_stack_ = nullptr;
  void* caller_fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  std::size_t caller_stack_bytes_ = 0;
};

}  // namespace cuda_emulator
