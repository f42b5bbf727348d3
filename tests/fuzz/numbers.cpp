// Lists of numbers and of record numbers, as text or .npy.
#include "engine/formats/numbers.h"

#include <cmath>

#include "fuzz.h"

void nepenthe::tests::fuzz(std::string_view input) {
  static const InputFile file;
  file.write(input);
  read_or_refuse([&] {
    const std::vector<double> numbers = read_numbers(file.path());
    require(!numbers.empty());
    for (const double number : numbers) require(std::isfinite(number));
  });
  read_or_refuse([&] {
    const std::vector<std::int32_t> records = read_record_numbers(file.path(), 8);
    require(!records.empty());
    for (const std::int32_t record : records) require(record >= 0 && record < 8);
  });
}
