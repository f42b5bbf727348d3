#include "engine/side_by_side.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "device.h"
#include "engine/base/error.h"
#include "engine/image_set.h"

using namespace nepenthe;
using nepenthe::tests::test_device;

namespace {

/// What a computation does until it is asked to stop.
[[noreturn]] void wait_for_stop(Observer& observer, const std::string& what) {
  while (!observer.stop_requested()) std::this_thread::yield();
  throw Interrupted(what);
}

/// Asks to stop once, at the call after so many.
struct StopAfter : Observer {
  explicit StopAfter(int after) : left(after) {}
  bool stop_requested() override { return left-- == 0; }
  int left;
};

/// Counts reports by what they are of, and calls that come while another is under way.
struct Told : Observer {
  explicit Told(std::map<std::string, int>& all) : told(all) {}
  void begin(const std::string& text) override {
    if (inside.exchange(true)) ++told["two at a time"];
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    what = text;
    inside = false;
  }
  void progress(const Progress&) override { ++told[what]; }
  static inline std::atomic<bool> inside = false;
  std::map<std::string, int>& told;
  std::string what;
};

/// The same with lanes.
struct Divided : Told {
  using Told::Told;
  std::unique_ptr<Observer> lane() override { return std::make_unique<Told>(told); }
};

}  // namespace

TEST_CASE("side by side: each has a device of its own, with its part of the threads") {
  Observer observer;
  Device device({.kind = "cpu", .threads = 5});
  const auto threads_of = [&](int parts) {
    std::latch all(parts);
    std::mutex mutex;
    std::multiset<int> threads;
    std::set<Device*> devices;
    side_by_side(parts, device, observer, [&](Device& own, Observer&) {
      all.arrive_and_wait();  // returns only where all of them run at once
      const std::lock_guard lock(mutex);
      threads.insert(std::get<kernels::CpuExec>(own.exec()).threads());
      devices.insert(&own);
      if (own.isa() != device.isa() || own.parts() != parts) threads.insert(-1);
    });
    CHECK(devices.size() == static_cast<std::size_t>(parts));
    CHECK(devices.contains(&device) == (parts == 1));
    return threads;
  };
  CHECK(threads_of(1) == std::multiset{5});
  CHECK(threads_of(2) == std::multiset{2, 3});
  CHECK(threads_of(4) == std::multiset{1, 1, 1, 2});
  CHECK(threads_of(7) == std::multiset{1, 1, 1, 1, 1, 1, 1});
}

TEST_CASE("side by side: pictures are shared, not copied") {
  Observer observer;
  Device device(test_device(2));
  const std::vector<std::uint8_t> pixels(3 * 32 * 32 * 4, 7);
  const ImageSet whole(device, pixels, {3, 1, 4, 1}, {});
  std::mutex mutex;
  std::set<const std::int32_t*> places;
  std::set<std::vector<std::int32_t>> labels;
  side_by_side(3, device, observer, [&](Device& own, Observer&) {
    const ImageSet part(own, whole);
    const auto read = own.download(part.labels().data(), part.labels().size());
    const std::lock_guard lock(mutex);
    places.insert(part.labels().data());
    labels.insert(read);
  });
  CHECK(places == std::set<const std::int32_t*>{whole.labels().data()});
  CHECK(labels == std::set<std::vector<std::int32_t>>{{3, 1, 4, 1}});
}

TEST_CASE("side by side: an error of one stops the others, and is the one thrown") {
  Observer observer;
  Device device(test_device(2));
  std::atomic<int> number = 0, stopped = 0;
  const auto compute = [&](Device&, Observer& own) {
    if (number++ == 1) throw UsageError("what was wrong");
    ++stopped;
    wait_for_stop(own, "stopped for another");
  };
  CHECK_THROWS_WITH_AS(side_by_side(3, device, observer, compute), "what was wrong", UsageError);
  CHECK(stopped == 2);
  // Also one that no class of ours is.
  const auto no_memory = [&](Device&, Observer&) { throw std::bad_alloc(); };
  CHECK_THROWS_AS(side_by_side(2, device, observer, no_memory), std::bad_alloc);
}

TEST_CASE("side by side: a stop asked for once reaches all") {
  Device device(test_device(2));
  StopAfter stop(100);
  const auto compute = [&](Device&, Observer& own) { wait_for_stop(own, "interrupted"); };
  CHECK_THROWS_WITH_AS(side_by_side(3, device, stop, compute), "interrupted (and 2 beside it)", Interrupted);
  // Those that are done before do not count.
  std::atomic<int> number = 0;
  const auto one_is_long = [&](Device&, Observer& own) {
    if (number++ == 0) wait_for_stop(own, "interrupted");
  };
  StopAfter again(100);
  CHECK_THROWS_WITH_AS(side_by_side(3, device, again, one_is_long), "interrupted", Interrupted);
}

TEST_CASE("side by side: observers are called one at a time, each of its own computation where they want to") {
  Device device(test_device(2));
  std::map<std::string, int> all;
  std::latch together(2), begun(2);
  const auto reporting = [&](std::latch& latch, const std::string& last, int& number) {
    return [&latch, &number, last](Device&, Observer& own) {
      static std::mutex mutex;
      std::string name;
      {
        const std::lock_guard lock(mutex);
        name = number++ == 0 ? "first" : last;
      }
      own.begin(name);
      latch.arrive_and_wait();
      for (int i = 0; i < 10; ++i) own.progress({});
    };
  };
  int divided_number = 0, one_number = 0;
  Divided divided(all);
  side_by_side(2, device, divided, reporting(together, "second", divided_number));
  CHECK(all == std::map<std::string, int>{{"first", 10}, {"second", 10}});
  all.clear();
  Told one(all);
  side_by_side(2, device, one, reporting(begun, "first", one_number));
  CHECK(all == std::map<std::string, int>{{"first", 20}});
}
