// The names of a data set's classes.
#include <fstream>
#include <set>

#include "data/dataset.h"
#include "fuzz.h"

namespace {

struct Folder {
  nepenthe::tests::InputFile names;
  std::filesystem::path path = nepenthe::tests::make_folder();

  Folder() {
    const std::string record(1 + 3072, '\0');
    std::ofstream(path / "data_batch_1.bin") << record;
    std::ofstream(path / "test_batch.bin") << record;
    std::filesystem::create_symlink(names.path(), path / "batches.meta.txt");
  }
};

}  // namespace

void nepenthe::tests::fuzz(std::string_view input) {
  static const Folder folder;
  folder.names.write(input);
  read_or_refuse([&] {
    const Dataset data = read_dataset(folder.path);
    require(std::set<std::string>(data.class_names.begin(), data.class_names.end()).size() ==
            static_cast<std::size_t>(data.classes));
  });
}
