// Draws a data set in the CIFAR-100 binary layout.
#include <fmt/format.h>

#include "data/synthetic.h"
#include "tools/common/options.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "unlearning/study/table.h"

int main(int argc, char** argv) {
  using namespace nepenthe;
  Program program("make_synthetic_data",
                  "Draws a data set in the CIFAR-100 binary layout; the same bytes for the same seed");
  std::filesystem::path out;
  int train = 5000, test = 1000, classes = 20;
  CLI::App& app = program.app();
  app.add_option("--out", out, "The folder to write")->type_name("DIR")->required();
  add_whole_number(app, "--train", train, 1, "Training pictures");
  add_whole_number(app, "--test", test, 1, "Test pictures");
  add_whole_number(app, "--classes", classes, 1, "Classes");
  return program.run(argc, argv, [&] {
    program.places().writes_folder(out, "--out", synthetic_file_names);
    write_synthetic(out, train, test, classes, program.seed());
    print("{}: {} training and {} test pictures of {} classes\n", out.string(), grouped(train), grouped(test), classes);
  });
}
