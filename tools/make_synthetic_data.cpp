// Draws a data set in the CIFAR-100 binary layout.
#include <fmt/format.h>

#include "data/synthetic.h"
#include "tools/common/program.h"
#include "tools/common/report.h"

int main(int argc, char** argv) {
  using namespace nepenthe;
  Program program("make_synthetic_data",
                  "Draws a data set in the CIFAR-100 binary layout; the same bytes for the same seed");
  std::filesystem::path out;
  int train = 5000, test = 1000, classes = 20;
  CLI::App& app = program.app();
  app.add_option("--out", out, "The folder to write")->type_name("DIR")->required();
  app.add_option("--train", train, "Training pictures");
  app.add_option("--test", test, "Test pictures");
  app.add_option("--classes", classes, "Classes");
  return program.run(argc, argv, [&] {
    write_synthetic(out, train, test, classes, program.seed());
    fmt::print("{}: {} training and {} test pictures of {} classes\n", out.string(), grouped(train), grouped(test),
               classes);
  });
}
