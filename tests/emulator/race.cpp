#include "race.h"

#if defined(NEPENTHE_EMULATOR_RACE)

#include <cuda_emulator.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "banks.h"
#include "block.h"
#include "device_memory.h"

namespace cuda_emulator::race {
namespace {

/// Who accessed a byte and when, in 64 bits; 0 is nobody. Counters wrap around.
struct Access {
  std::uint64_t block : 24;   // numbered through all launches from 1
  std::uint64_t thread : 10;  // in its block
  std::uint64_t epoch : 14;   // barriers of the block before
  std::uint64_t syncs : 7;    // __syncwarps of the thread before, since the last barrier
  std::uint64_t fences : 8;   // __threadfences of the thread before
  std::uint64_t atomic : 1;

  explicit operator bool() const { return block != 0; }
};
static_assert(sizeof(Access) == 8);
constexpr std::uint64_t most_blocks = (1u << 24) - 1;
constexpr unsigned most_epochs = 1u << 14, most_syncs = 1u << 7, most_fences = 1u << 8;

/// What is remembered of a byte: its last write and two reads; where in the program, from its base.
struct Cell {
  Access write, read, other_read;
  std::uint32_t write_at, read_at;
};

/// Cells of a stretch of memory, none touched until used.
struct Cells {
  const char* begin;
  const char* end;
  Cell* cells;
};

Cells make_cells(const char* begin, const char* end) {
  void* mapping = mmap(nullptr, static_cast<std::size_t>(end - begin) * sizeof(Cell), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw Error("[cuda_emulator] no memory for the race checker");
  return {begin, end, static_cast<Cell*>(mapping)};
}

void drop_cells(const Cells& cells) {
  munmap(cells.cells, static_cast<std::size_t>(cells.end - cells.begin) * sizeof(Cell));
}

/// What a block has released by fences and atomics on one address: everything of epochs before `epoch`, and of each
/// thread what came before its `fences`-th fence.
struct Release {
  unsigned epoch = 0;
  std::vector<unsigned> fences;
};

struct Acquire {
  std::uintptr_t address;
  unsigned bytes, thread, epoch;
};

struct ThreadState {
  unsigned syncs = 0;              // since the last barrier
  unsigned fences = 0;             // in all
  unsigned fences_at_barrier = 0;  // of them, before the last barrier
  unsigned fence_epoch = 0;        // 1 + the epoch of the last fence
  bool early = false;              // earlier kernels may still be at work
};

// There is one worker, hence one of each.
std::uint64_t first_block = 1, next_block = 1;                        // of this launch and of the next
std::map<std::uintptr_t, std::map<std::uint64_t, Release>> releases;  // of this launch
std::map<const char*, Cells> global_cells;
Cells last_global{};  // the one used last
Cells shared_cells{};
std::uint64_t current_block = 0;
unsigned current_thread = 0, epoch = 0;
unsigned last_fence_epoch = 0;  // 1 + the last epoch before this one in which a thread fenced
std::vector<ThreadState> threads;
std::vector<Acquire> acquired;
BankTraffic banks;
const char* stack_begin = nullptr;
const char* stack_end = nullptr;

std::uintptr_t program_base() {
  static const std::uintptr_t base = [] {
    std::uintptr_t found = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
          *static_cast<std::uintptr_t*>(out) = info->dlpi_addr;
          return 1;  // the program comes first
        },
        &found);
    return found;
  }();
  return base;
}

/// "pool.cu:12" for an offset in the program.
std::string line_of(std::uint32_t offset) {
  char program[4096];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (length <= 0) return "?";
  program[length] = 0;
  char command[4200];
  std::snprintf(command, sizeof(command), "addr2line -e '%s' 0x%x 2>/dev/null", program, offset - 1);
  char line[1024] = "";
  if (FILE* pipe = popen(command, "r")) {
    if (std::fgets(line, sizeof(line), pipe) == nullptr) line[0] = 0;
    pclose(pipe);
  }
  std::string text = line;
  text = text.substr(0, text.find_first_of(" \n"));
  text = text.substr(text.rfind('/') + 1);
  return text.empty() || text[0] == '?' ? "?" : text;
}

[[noreturn]] void report(const char* what, unsigned bytes, bool shared, std::uint32_t here, Access other,
                         std::uint32_t there) {
  std::string message = std::string(what) + ", " + std::to_string(bytes) + " bytes of " +
                        (shared ? "shared" : "global") + " memory, at " + line_of(here);
  if (other) {
    message += ", against block " + std::to_string(other.block - first_block) + " thread " +
               std::to_string(other.thread) + " at " + line_of(there);
  }
  Block::running()->fail(std::move(message));
}

bool handed_over(Access other, std::uintptr_t address) {
  return std::any_of(acquired.begin(), acquired.end(), [&](const Acquire& acquire) {
    if (acquire.thread != current_thread && acquire.epoch == epoch) return false;
    if (other.atomic && address - acquire.address < acquire.bytes) return true;
    const auto& from = releases[acquire.address];
    const auto release = from.find(other.block);
    return release != from.end() && (other.epoch < release->second.epoch ||
                                     other.fences < release->second.fences[static_cast<std::size_t>(other.thread)]);
  });
}

bool ordered(Access other, Access me, std::uintptr_t address) {
  if (other.block < first_block) return true;
  if (other.block != me.block) return handed_over(other, address);
  if (other.thread == me.thread || other.epoch != me.epoch) return true;
  const unsigned syncs_since = (me.syncs - other.syncs) % most_syncs;
  return other.thread / 32 == me.thread / 32 && syncs_since != 0 && syncs_since < most_syncs / 2;
}

/// The cell of an address in shared or device memory, or beside its end; nullptr for any other memory.
Cell* find_cell(const char* address, bool& shared) {
  shared = address >= shared_cells.begin && address < shared_cells.end;
  if (shared) return shared_cells.cells + (address - shared_cells.begin);
  if (address < last_global.begin || address >= last_global.end) {
    const Allocation* allocation = find_device_memory(address);
    if (allocation == nullptr) return nullptr;
    auto found = global_cells.find(allocation->begin);
    if (found == global_cells.end()) {
      const Cells cells = make_cells(allocation->begin, allocation->begin + allocation->bytes);
      found = global_cells.emplace(allocation->begin, cells).first;
    }
    last_global = found->second;
  }
  return last_global.cells + (address - last_global.begin);
}

void access(const void* memory, unsigned bytes, bool write, bool atomic, const void* caller) {
  const char* address = static_cast<const char*>(memory);
  if (Block::running() == nullptr || (address >= stack_begin && address < stack_end)) return;
  bool shared = false;
  Cell* cell = find_cell(address, shared);
  if (cell == nullptr) return;
  const auto here = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(caller) - program_base());
  if (address + bytes > (shared ? shared_cells : last_global).end) {
    report("access out of bounds", bytes, shared, here, {}, 0);
  }
  if (!shared && threads[current_thread].early) {
    report("access before earlier kernels have ended", bytes, shared, here, {}, 0);
  }
  if (shared && bytes <= 16) banks.note(current_thread, here, memory, bytes);
  const Access me{.block = current_block,
                  .thread = current_thread,
                  .epoch = epoch % most_epochs,
                  .syncs = threads[current_thread].syncs % most_syncs,
                  .fences = threads[current_thread].fences % most_fences,
                  .atomic = atomic};
  for (unsigned i = 0; i < bytes; ++i, ++cell) {
    const std::uintptr_t byte = reinterpret_cast<std::uintptr_t>(address);
    if (shared) {  // every block has its own
      if (cell->write.block != me.block) cell->write = {};
      if (cell->read.block != me.block) cell->read = {};
      if (cell->other_read.block != me.block) cell->other_read = {};
      if (!cell->write && (!write || atomic)) report("uninitialised read", bytes, shared, here, {}, 0);
    }
    if (cell->write && !(atomic && cell->write.atomic) && !ordered(cell->write, me, byte)) {
      report(write ? "race of two writes" : "race of a read with a write", bytes, shared, here, cell->write,
             cell->write_at);
    }
    if (write) {
      for (const Access& read : {cell->read, cell->other_read}) {
        if (read && !ordered(read, me, byte)) {
          report("race of a write with a read", bytes, shared, here, read, cell->read_at);
        }
      }
      cell->write = me;
      cell->write_at = here;
      continue;
    }
    // Two readers are kept, if they can be had: of the newest epoch, or of different blocks.
    const Access last = cell->read;
    if (last && last.block == me.block && last.epoch == me.epoch && last.thread != me.thread) {
      cell->other_read = me;
    } else {
      if (last && last.block != me.block)
        cell->other_read = last;
      else if (cell->other_read.block == me.block)
        cell->other_read = {};
      cell->read = me;
      cell->read_at = here;
    }
  }
}

/// An atomic hands on what fences have made visible, and takes what others have handed on there.
void meet(std::uintptr_t address, unsigned bytes) {
  acquired.push_back({address, bytes, current_thread, epoch});
  const ThreadState& me = threads[current_thread];
  const unsigned released_epoch = me.fence_epoch == epoch + 1 ? epoch
                                  : last_fence_epoch == 0     ? 0
                                                              : last_fence_epoch - 1;
  Release& release = releases[address][current_block];
  release.epoch = std::max(release.epoch, released_epoch);
  release.fences.resize(threads.size());
  for (std::size_t t = 0; t < threads.size(); ++t) {
    const unsigned fences = t == current_thread ? threads[t].fences : threads[t].fences_at_barrier;
    release.fences[t] = std::max(release.fences[t], fences);
  }
}

}  // namespace

void launch_starts(std::uint64_t blocks) {
  if (next_block + blocks > most_blocks) {  // out of numbers: forget everything
    for (const auto& [begin, cells] : global_cells) drop_cells(cells);
    global_cells.clear();
    last_global = {};
    if (shared_cells.cells != nullptr) drop_cells(shared_cells);
    shared_cells = {};
    next_block = 1;
    if (blocks >= most_blocks) throw Error("[cuda_emulator] too many blocks for the race checker");
  }
  first_block = next_block;
  next_block += blocks;
  releases.clear();
}

void block_starts(std::uint64_t block, int count, bool early, const char* shared_begin, const char* shared_end) {
  if (shared_cells.begin != shared_begin) {
    if (shared_cells.cells != nullptr) drop_cells(shared_cells);
    shared_cells = make_cells(shared_begin, shared_end);
  }
  current_block = first_block + block;
  epoch = last_fence_epoch = 0;
  banks.take();
  threads.assign(static_cast<std::size_t>(count), {.early = early});
  acquired.clear();
}

void thread_resumes(int thread, const Fiber& fiber) {
  current_thread = static_cast<unsigned>(thread);
  stack_begin = fiber.stack_begin();
  stack_end = fiber.stack_end();
}

std::string bank_conflict() {
  const auto conflict = banks.take();
  if (!conflict) return "";
  return "bank conflict, " + std::to_string(conflict->wavefronts) + " wavefronts where " +
         std::to_string(conflict->needed) + " would do, at " + line_of(conflict->place);
}

void barrier() {
  for (ThreadState& thread : threads) {
    thread.syncs = 0;
    thread.fences_at_barrier = thread.fences;
    last_fence_epoch = std::max(last_fence_epoch, thread.fence_epoch);
  }
  ++epoch;
}

void warp_barrier(int warp, unsigned lanes) {
  for (std::size_t lane = 0; lane < 32; ++lane) {
    if ((lanes >> lane & 1) != 0) ++threads[static_cast<std::size_t>(warp) * 32 + lane].syncs;
  }
}

void fence() {
  ThreadState& me = threads[current_thread];
  ++me.fences;
  me.fence_epoch = epoch + 1;
}

void earlier_kernels_ended() { threads[current_thread].early = false; }

void memory_freed(const char* begin) {
  const auto found = global_cells.find(begin);
  if (found == global_cells.end()) return;
  if (last_global.begin == begin) last_global = {};
  drop_cells(found->second);
  global_cells.erase(found);
}

}  // namespace cuda_emulator::race

namespace cuda_emulator {

void note_atomic(const void* address, unsigned bytes, const void* caller) {
  race::access(address, bytes, true, true, caller);
  race::meet(reinterpret_cast<std::uintptr_t>(address), bytes);
}

}  // namespace cuda_emulator

// What the compiler inserts.
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define NEPENTHE_ACCESS(name, bytes, write)                                                 \
  void __tsan_##name(void* address) {                                                       \
    cuda_emulator::race::access(address, bytes, write, false, __builtin_return_address(0)); \
  }
#define NEPENTHE_ACCESSES(bytes)                       \
  NEPENTHE_ACCESS(read##bytes, bytes, false)           \
  NEPENTHE_ACCESS(write##bytes, bytes, true)           \
  NEPENTHE_ACCESS(unaligned_read##bytes, bytes, false) \
  NEPENTHE_ACCESS(unaligned_write##bytes, bytes, true)
NEPENTHE_ACCESSES(1)
NEPENTHE_ACCESSES(2)
NEPENTHE_ACCESSES(4)
NEPENTHE_ACCESSES(8)
NEPENTHE_ACCESSES(16)

void __tsan_read_range(void* address, unsigned long bytes) {
  cuda_emulator::race::access(address, static_cast<unsigned>(bytes), false, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, unsigned long bytes) {
  cuda_emulator::race::access(address, static_cast<unsigned>(bytes), true, false, __builtin_return_address(0));
}
}

#endif
