// What programs do where nobody listens: streams that are closed, full or gone, terminals, signals.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tools/programs.h"

namespace fs = std::filesystem;
using namespace nepenthe::tests;
using namespace std::chrono_literals;

namespace {

constexpr const char* train = "train_model --data data --model resnet20 --threads 1 --epochs";

struct World {
  fs::path root = fs::temp_directory_path() / fmt::format("nepenthe-output-{}", getpid());

  World() {
    fs::remove_all(root);
    fs::create_directories(root);
    REQUIRE(run("make_synthetic_data --out data --train 40 --test 20 --classes 4").exit_code == 0);
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& command) const { return run_program(root, command); }

  /// A program's exit code by the shell, after `command` with its redirections; 128 and more: a signal ended it.
  int by_shell(const std::string& command) const {
    const int status =
        std::system(fmt::format("cd '{}' && PATH='{}':$PATH; {}", root.string(), NEPENTHE_BIN_DIR, command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

/// A program whose standard error is a terminal.
class OnTerminal {
 public:
  OnTerminal(const World& world, const std::string& command, const std::string& environment = "") {
    int terminal = -1;
    REQUIRE(openpty(&master_, &terminal, nullptr, nullptr, nullptr) == 0);
    const std::string line = fmt::format("cd '{}' && exec env {} '{}'/{} >/dev/null", world.root.string(), environment,
                                         NEPENTHE_BIN_DIR, command);
    process_ = fork();
    if (process_ == 0) {
      close(master_);
      dup2(terminal, STDERR_FILENO);
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
    close(terminal);
  }
  ~OnTerminal() {
    hang_up();
    if (process_ > 0) kill(process_, SIGKILL), waitpid(process_, nullptr, 0);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  pid_t process() const { return process_; }

  /// What it shows until `seen` holds or the time is over.
  std::string watch(std::chrono::milliseconds longest, const std::function<bool(const std::string&)>& seen) {
    const auto end = std::chrono::steady_clock::now() + longest;
    std::string shown;
    while (std::chrono::steady_clock::now() < end && !seen(shown)) {
      pollfd wait{.fd = master_, .events = POLLIN, .revents = 0};
      if (poll(&wait, 1, 20) <= 0) continue;
      char text[4096];
      const ssize_t got = read(master_, text, sizeof text);
      if (got <= 0) break;  // the other side has ended
      shown.append(text, static_cast<std::size_t>(got));
    }
    return shown;
  }
  void hang_up() {
    if (master_ >= 0) close(std::exchange(master_, -1));
  }
  int exit_code() {
    int status = 0;
    waitpid(std::exchange(process_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int master_ = -1;
  pid_t process_ = -1;
};

bool is_bar(const std::string& shown) { return shown.find("images/s") != std::string::npos; }

}  // namespace

TEST_CASE("messages that cannot be shown are dropped, and the work goes on") {
  const World world;
  REQUIRE(world.run(fmt::format("{} 2 --out right.safetensors", train)).exit_code == 0);
  const std::string right = nepenthe::sha256_file(world.root / "right.safetensors");
  for (const char* error : {"2>&-", "2>/dev/full"}) {
    CAPTURE(error);
    CHECK(world.by_shell(fmt::format("{} 2 --out out.safetensors >/dev/null {}", train, error)) == 0);
    CHECK(nepenthe::sha256_file(world.root / "out.safetensors") == right);
    CHECK(world.by_shell(fmt::format("{} 2 --out out.safetensors >/dev/null {}", train, error)) == 2);  // exists
    CHECK(world.by_shell(
              fmt::format("eval_model --model resnet20 --weights right.safetensors --data gone {}", error)) == 2);
    fs::remove(world.root / "out.safetensors");
    fs::remove(world.root / "out.safetensors.manifest.jsonl");
  }
}

TEST_CASE("a file never takes the number of a closed stream") {
  const World world;
  CHECK(world.by_shell(fmt::format("{} 1 --out out.safetensors 0<&- 1>&- 2>&-", train)) == 1);  // results went nowhere
  CHECK(world.run("eval_model --model resnet20 --weights out.safetensors --data data --quiet").exit_code == 0);
  const std::string journal = slurp(world.root / "out.safetensors.manifest.jsonl");
  CHECK(journal.starts_with("{\"time\""));
  CHECK(journal.find("epochs\n") == std::string::npos);
}

TEST_CASE("results that cannot be written are one line and exit code 1, and nothing else is lost") {
  const World world;
  const std::string data = slurp(world.root / "data/train.bin");
  for (const auto& [stream, reason] :
       {std::pair("1>/dev/full", "No space left on device"), std::pair("1>&-", "Bad file descriptor")}) {
    CAPTURE(stream);
    CHECK(world.by_shell(
              fmt::format("{} 1 --out out.safetensors --json out.json --quiet {} 2>error.txt", train, stream)) == 1);
    CHECK(slurp(world.root / "error.txt") == fmt::format("error: standard output cannot be written: {}\n", reason));
    CHECK(nlohmann::json::parse(slurp(world.root / "out.json")).at("splits").contains("test"));
    for (const char* made : {"out.safetensors", "out.safetensors.manifest.jsonl", "out.json"})
      fs::remove(world.root / made);
    CHECK(world.by_shell(fmt::format("train_sisa --help {} 2>error.txt", stream)) == 1);
    CHECK(world.by_shell(fmt::format("train_sisa --version {} 2>error.txt", stream)) == 1);
  }
}

TEST_CASE("a reader that has seen enough is no error to speak of") {
  const World world;
  REQUIRE(world.run(fmt::format("{} 1 --out out.safetensors", train)).exit_code == 0);
  // The reader is gone before the program begins.
  CHECK(world.by_shell("(sleep 0.3; convert_weights out.safetensors --list 2>error.txt; echo $? >code.txt) | true") ==
        0);
  CHECK(slurp(world.root / "code.txt") == "1\n");
  CHECK(slurp(world.root / "error.txt").empty());
}

TEST_CASE("a bar where the terminal can show one, and no control codes elsewhere") {
  const World world;
  int run = 0;
  const auto shown = [&](const std::string& environment) {
    OnTerminal program(world, fmt::format("{} 100000 --out bar-{}.safetensors", train, ++run), environment);
    return program.watch(3500ms, is_bar);
  };
  const std::string bar = shown("-u NO_COLOR TERM=xterm");
  CHECK(bar.find("\r") != std::string::npos);
  CHECK(bar.find("\x1b[K") != std::string::npos);
  CHECK(bar.find("images/s") != std::string::npos);
  for (const char* environment : {"TERM=dumb", "NO_COLOR=1 TERM=xterm", "-u TERM"}) {
    CAPTURE(environment);
    const std::string plain = shown(environment);
    CHECK(plain.find("training samples") != std::string::npos);
    CHECK(plain.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("shards side by side have a bar each, and plain lines name them elsewhere") {
  const World world;
  const std::string command =
      "train_sisa --data data --model resnet20 --shards 2 --slices 1 --epochs 100000 --threads "
      "2 --parallel-shards 2 --out ";
  const auto shows_both = [](const std::string& shown) {
    return shown.find("shard 0 of 2, stage 1 of 1") != std::string::npos &&
           shown.find("shard 1 of 2, stage 1 of 1") != std::string::npos;
  };
  OnTerminal bars(world, command + "bars", "-u NO_COLOR TERM=xterm");
  const std::string redrawn = "\x1b[1A\rshard ";  // two rows, and the cursor back in the first
  const std::string drawn = bars.watch(
      20s, [&](const std::string& shown) { return shows_both(shown) && shown.find(redrawn) != std::string::npos; });
  CHECK(shows_both(drawn));
  CHECK(drawn.find(redrawn) != std::string::npos);
  kill(bars.process(), SIGINT);
  const std::string ended = bars.watch(20s, [](const std::string&) { return false; });
  CHECK(ended.find("(and 1 beside it)") != std::string::npos);
  CHECK(ended.rfind("\x1b[J") < ended.find("error: "));  // the bars are gone by then
  OnTerminal lines(world, command + "lines", "TERM=dumb");
  const std::string plain = lines.watch(40s, shows_both);
  CHECK(shows_both(plain));
  CHECK(plain.find('\x1b') == std::string::npos);
}

TEST_CASE("a terminal that goes away ends nothing by itself") {
  const World world;
  OnTerminal program(world, fmt::format("{} 60 --out out.safetensors", train), "-u NO_COLOR TERM=xterm");
  program.watch(200ms, [](const std::string&) { return false; });
  program.hang_up();  // no SIGHUP comes: it is not the session's terminal
  CHECK(program.exit_code() == 0);
  CHECK(fs::exists(world.root / "out.safetensors"));
}

TEST_CASE("SIGHUP, SIGTERM and SIGINT stop at a safe point, and what is ignored from the start stays so") {
  const World world;
  for (const int signal : {SIGHUP, SIGTERM, SIGINT}) {
    CAPTURE(signal);
    const std::string out = fmt::format("signal-{}.safetensors", signal);
    OnTerminal program(world, fmt::format("{} 100000 --out {}", train, out), "-u NO_COLOR TERM=xterm");
    program.watch(20s, is_bar);
    kill(program.process(), signal);
    if (signal != SIGINT) kill(program.process(), signal);  // as a terminal that closes may
    CHECK(program.watch(20s, [](const std::string&) { return false; }).find("--resume continues") != std::string::npos);
    CHECK(program.exit_code() == 1);
    CHECK(fs::exists(world.root / (out + ".state")));
  }
  OnTerminal study(world, "run_study --data data --out study --only baseline --epochs 100000",
                   "-u NO_COLOR TERM=xterm");
  study.watch(20s, is_bar);
  kill(study.process(), SIGTERM);
  CHECK(study.watch(20s, [](const std::string&) { return false; }).find("with --resume continues") !=
        std::string::npos);
  CHECK(study.exit_code() == 1);
  CHECK(fs::exists(world.root / "study/made"));
  CHECK(world.by_shell(fmt::format("trap '' HUP; {} 20 --out deaf.safetensors --quiet >/dev/null & "
                                   "sleep 0.2; kill -HUP $!; wait $!",
                                   train)) == 0);
  CHECK(fs::exists(world.root / "deaf.safetensors"));
}
