#include "engine/side_by_side.h"

#include <fmt/format.h>

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/base/error.h"

namespace nepenthe {
namespace {

/// What the computations have in common; whoever touches it holds its mutex.
struct Group {
  Observer& observer;
  std::mutex mutex{};
  bool stop = false;
  std::exception_ptr failure{};
  std::string interruption{};  // the first one's message
  int interrupted = 0;

  /// Called in the handler of what a computation has thrown.
  void ended_by_exception() {
    const std::lock_guard lock(mutex);
    stop = true;
    try {
      throw;
    } catch (const Interrupted& error) {
      if (interrupted++ == 0) interruption = error.what();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
};

/// A computation's observer.
class Lane final : public Observer {
 public:
  explicit Lane(Group& group) : group_(group) {
    const std::lock_guard lock(group_.mutex);
    own_ = group_.observer.lane();
  }
  ~Lane() override {
    const std::lock_guard lock(group_.mutex);
    own_.reset();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void begin(const std::string& what) override {
    const std::lock_guard lock(group_.mutex);
    told().begin(what);
  }
  void progress(const Progress& progress) override {
    const std::lock_guard lock(group_.mutex);
    told().progress(progress);
  }
  bool stop_requested() override {
    const std::lock_guard lock(group_.mutex);
    group_.stop = group_.stop || group_.observer.stop_requested();
    return group_.stop;
  }
  bool every_step() override {
    const std::lock_guard lock(group_.mutex);
    return group_.observer.every_step();
  }

 private:
  Observer& told() { return own_ ? *own_ : group_.observer; }

  Group& group_;
  std::unique_ptr<Observer> own_;
};

}  // namespace

void side_by_side(int parts, Device& device, Observer& observer,
                  const std::function<void(Device& device, Observer& observer)>& compute) {
  if (parts == 1) return compute(device, observer);
  Group group{.observer = observer};
  {
    std::vector<std::jthread> threads;
    try {
      for (int part = 0; part < parts; ++part) {
        threads.emplace_back([&, part] {
          try {
            Lane lane(group);
            Device own(device, part, parts);
            compute(own, lane);
          } catch (...) {
            group.ended_by_exception();
          }
        });
      }
    } catch (const std::system_error&) {
      const std::lock_guard lock(group.mutex);
      group.stop = true;
      group.failure = std::make_exception_ptr(
          Error(fmt::format("the system gives no threads for {} at once; fewer would be right", parts)));
    }
  }
  if (group.failure) std::rethrow_exception(group.failure);
  if (group.interrupted > 1) {
    throw Interrupted(fmt::format("{} (and {} beside it)", group.interruption, group.interrupted - 1));
  }
  if (group.interrupted == 1) throw Interrupted(group.interruption);
}

}  // namespace nepenthe
