// Preloaded into a program, makes the N-th change that it makes to files under a folder go wrong, so that a test can
// try every N. Counted are opening for writing, write, fsync, rename, unlink, ftruncate and mkdir.
//   FAULT_FOLDER  the folder, without a slash at its end
//   FAULT_AT      N, from 1
//   FAULT_MODE    once: the N-th fails with ENOSPC; from: it and all after it; kill: SIGKILL in its place
//   FAULT_COUNT   a file outside of the folder that gets the number of changes when the program ends by itself
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr int most_files = 1024;
bool watched[most_files];
long changes = 0;

std::string_view setting(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) real(&::name, #name)

bool in_folder(std::string_view path) {
  const std::string_view folder = setting("FAULT_FOLDER");
  return !folder.empty() && path.starts_with(folder) && path.substr(folder.size()).starts_with('/');
}

bool is_watched(int file) { return file >= 0 && file < most_files && watched[file]; }

int watch(int file, bool yes) {
  if (file >= 0 && file < most_files) watched[file] = yes;
  return file;
}

long wanted() { return std::atol(std::string(setting("FAULT_AT")).c_str()); }

/// Whether this change fails; errno is set then.
bool fails() {
  const std::string_view mode = setting("FAULT_MODE");
  ++changes;
  if (changes < wanted() || (changes > wanted() && mode != "from")) return false;
  if (mode == "kill") std::raise(SIGKILL);
  errno = ENOSPC;
  return true;
}

bool is_change(int flags) { return (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0; }

mode_t mode_of(int flags, va_list rest) { return (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; }

__attribute__((destructor)) void tell() {
  std::FILE* file = std::fopen(std::string(setting("FAULT_COUNT")).c_str(), "w");
  if (file == nullptr) return;
  std::fprintf(file, "%ld\n", changes);
  std::fclose(file);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  const bool there = in_folder(path);
  if (there && is_change(flags) && fails()) return -1;
  return watch(REAL(open)(path, flags, mode), there);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  const bool there = in_folder(path) || is_watched(folder);
  if (there && is_change(flags) && fails()) return -1;
  return watch(REAL(openat)(folder, path, flags, mode), there);
}

// Where a write is killed or finds no space, half of it is done: what is torn must be told from what is whole.
ssize_t write(int file, const void* bytes, size_t count) {
  if (!is_watched(file)) return REAL(write)(file, bytes, count);
  if (changes + 1 == wanted() && count > 1) (void)!REAL(write)(file, bytes, count / 2);
  return fails() ? -1 : REAL(write)(file, bytes, count);
}

int fsync(int file) { return is_watched(file) && fails() ? -1 : REAL(fsync)(file); }
int ftruncate(int file, off_t size) noexcept { return is_watched(file) && fails() ? -1 : REAL(ftruncate)(file, size); }
int rename(const char* from, const char* to) noexcept { return in_folder(to) && fails() ? -1 : REAL(rename)(from, to); }
int unlink(const char* path) noexcept { return in_folder(path) && fails() ? -1 : REAL(unlink)(path); }
int remove(const char* path) noexcept { return in_folder(path) && fails() ? -1 : REAL(remove)(path); }
int mkdir(const char* path, mode_t mode) noexcept { return in_folder(path) && fails() ? -1 : REAL(mkdir)(path, mode); }
int unlinkat(int folder, const char* path, int flags) noexcept {
  return (in_folder(path) || is_watched(folder)) && fails() ? -1 : REAL(unlinkat)(folder, path, flags);
}
int close(int file) {
  watch(file, false);
  return REAL(close)(file);
}

}  // extern "C"
