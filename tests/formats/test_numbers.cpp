// Text lists and lists of numbers: the forms that people and NumPy write, and what is no list.
#include "engine/formats/numbers.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <limits>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/npy.h"
#include "engine/formats/text_lines.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;
using namespace std::string_literals;

namespace {

using Ids = std::vector<std::int32_t>;

struct Lists {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "list";

  std::vector<double> numbers(std::string_view file) const {
    write_file_atomically(path, file);
    return read_numbers(path);
  }
  Ids records(std::string_view file, std::size_t count = 200) const {
    write_file_atomically(path, file);
    return read_record_numbers(path, count);
  }
};

std::string npy(std::string_view type, std::string_view shape, std::string_view data) {
  const std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n", type, shape);
  return fmt::format("\x93NUMPY{}{}{}{}{}{}", '\1', '\0', static_cast<char>(header.size()), '\0', header, data);
}

}  // namespace

TEST_CASE("text lines: marks, ends of lines, blanks and comments") {
  using Lines = std::vector<std::pair<std::size_t, std::string>>;
  const auto lines = [](std::string_view file, Comments comments) {
    Lines all;
    for (const TextLine& line : text_lines(file, comments, "f")) all.emplace_back(line.number, line.text);
    return all;
  };
  const std::string file =
      "\xef\xbb\xbf"
      "a\r\n\n \t\rb c\t\n# all of it\n  #1\n d #2\r\r\n\r\ne"s;
  CHECK(lines(file, Comments::anywhere) == Lines{{1, "a"}, {4, "b c"}, {7, "d"}, {10, "e"}});
  CHECK(lines(file, Comments::whole_lines) == Lines{{1, "a"}, {4, "b c"}, {7, "d #2"}, {10, "e"}});
  CHECK(lines("", Comments::anywhere).empty());
  CHECK(lines("\xef\xbb\xbf", Comments::anywhere).empty());
  CHECK(lines("#", Comments::whole_lines).empty());
  for (const std::string& wide : {"\xff\xfe"
                                  "1\0\n\0"s,
                                  "\xfe\xff\0"
                                  "1"s}) {
    NEPENTHE_CHECK_MESSAGE(Error, lines(wide, Comments::anywhere), "f: is text in UTF-16 or UTF-32; save it as UTF-8");
  }
  CHECK(lines("gr\xc3\xb6\xc3\x9f"
              "e",
              Comments::whole_lines) == Lines{{1,
                                               "gr\xc3\xb6\xc3\x9f"
                                               "e"}});
  CHECK(lines("1 # gr\xf6\xdf"
              "e",
              Comments::anywhere) == Lines{{1, "1"}});  // as numpy.savetxt writes a header
  NEPENTHE_CHECK_MESSAGE(Error, lines("1\n2\0"s, Comments::anywhere), "f: line 2 holds the control character 0x00");
  NEPENTHE_CHECK_MESSAGE(Error, lines("a\n\x1b[2J", Comments::whole_lines), "line 2 holds the control character 0x1b");
  NEPENTHE_CHECK_MESSAGE(Error,
                         lines("a\n\ngr\xf6\xdf"
                               "e",
                               Comments::whole_lines),
                         "line 3 is 'gr\\xf6\\xdfe', which is no");
}

TEST_CASE("numbers: text") {
  const Lists lists;
  const auto numbers = [&](std::string_view text) { return lists.numbers(text); };
  CHECK(numbers("1\n-2.5e-3\r\n  +7 \n0.1") == std::vector<double>{1, -2.5e-3, 7, 0.1});
  CHECK(numbers("\xef\xbb\xbf# losses\n1.000000000000000000e+00 # first\n\n2\n\n") == std::vector<double>{1, 2});
  CHECK(numbers("# one row, as numpy.savetxt writes it\n1.5e+00 2.5e+00\t-3\n") == std::vector<double>{1.5, 2.5, -3});
  NEPENTHE_CHECK_MESSAGE(Error, numbers(""), "list: holds no numbers; text with one number a line, or a .npy file");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("\n # 1\n\r\n"), "holds no numbers");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("1\ntwo\n"), "list: line 2 is 'two'; one finite number a line is expected");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("# \n\n1\n2 3\n"), "line 4 is '2 3'");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("2 3\n1\n"), "line 1 is '2 3'");
  for (const std::string wrong : {"nan", "-inf", "1e999", "+-1", "++1", "1,2,3", "0x10", "-", "1.5.2", "[1", "0,5"}) {
    NEPENTHE_CHECK_MESSAGE(Error, numbers(wrong), fmt::format("line 1 is '{}'", wrong));
  }
}

TEST_CASE("numbers: .npy lists of any shape with one long dimension") {
  const Lists lists;
  const std::string data = "\0\0\x80\x3f\0\0\0\x40"s;
  for (const char* shape : {"(2,)", "(2, 1)", "(1, 2)", "(1, 2, 1)"}) {
    CHECK(lists.numbers(npy("<f4", shape, data)) == std::vector<double>{1, 2});
  }
  CHECK(lists.numbers(npy("<f4", "()", data.substr(0, 4))) == std::vector<double>{1});
  CHECK(lists.numbers(npy("|i1", "(8,)", data)).size() == 8);
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers(npy("|i1", "(2, 4)", data)),
                         "list: has shape (2, 4); a list of numbers is expected, as of shape (N,), (N, 1) or (1, N)");
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers(npy("<f4", "(0,)", "")), "holds no numbers");
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers("PK\x03\x04\x14\0"s),
                         "list: is an archive (.npz or .pt); save one array");
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers(npy("<f4", "(0, 5)", "")), "has shape (0, 5)");
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers(npy("|b1", "(2,)", "\0\1"s)), "holds booleans; numbers are expected");
  NEPENTHE_CHECK_MESSAGE(Error, lists.numbers(npy("<f4", "(2,)", "\0\0\x80\x3f\0\0\x80\x7f"s)),
                         "list: element 1 is inf; finite numbers are expected");
}

TEST_CASE("record numbers: whole, in range, in the file's order") {
  const Lists lists;
  const auto refused = [&](std::string_view file, std::string_view expected) {
    NEPENTHE_CHECK_MESSAGE(Error, lists.records(file), expected);
  };
  CHECK(lists.records("5\n3\r\n\n  199 \n3 # again\n0") == Ids{5, 3, 199, 3, 0});
  CHECK(lists.records("3.000000000000000000e+00\n1.990000000000000000e+02\n") == Ids{3, 199});
  CHECK(lists.records("1 2 3\n") == Ids{1, 2, 3});
  refused("1\n1.5\n", "list: line 2 is '1.5', no record number; whole numbers from 0 to 199 are expected");
  refused("200", "list: line 1 is 200; there is no such record: they go from 0 to 199");
  refused("4294967297", "line 1 is 4294967297; there is no such record");
  refused("1\n# \n-1\n", "line 3 is -1; there is no such record");
  refused("1e300", "line 1 is 1e300; there is no such record");

  CHECK(lists.records(npy("<i8", "(2,)", "\3\0\0\0\0\0\0\0\xc7\0\0\0\0\0\0\0"s)) == Ids{3, 199});
  CHECK(lists.records(npy(">u2", "(2, 1)", "\0\3\0\xc7"s)) == Ids{3, 199});
  CHECK(lists.records(npy("<f4", "(1, 2)", "\0\0\x80\x3f\0\0\0\x40"s)) == Ids{1, 2});
  refused(npy("|i1", "(2,)", "\1\xfe"), "list: element 1 is -2; there is no such record");
  refused(npy("|u1", "(2,)", "\1\xc8"), "element 1 is 200; there is no such record: they go from 0 to 199");
  refused(npy("<u8", "(1,)", "\xff\xff\xff\xff\xff\xff\xff\xff"), "element 0 is 1.8446744073709552e+19; there is no");
  refused(npy("<f4", "(1,)", "\0\0\xc0\x3f"s), "element 0 is '1.5', no record number");
}

TEST_CASE("record numbers: a mask of booleans names the records where it is true, one of numbers is refused") {
  const Lists lists;
  CHECK(lists.records(npy("|b1", "(5,)", "\0\1\0\0\1"s), 5) == Ids{1, 4});
  CHECK(lists.records(npy("|b1", "(1, 5)", "\1\0\0\0\0"s), 5) == Ids{0});
  NEPENTHE_CHECK_MESSAGE(Error, lists.records(npy("|b1", "(5,)", "\0\1\0\0\1"s), 6),
                         "list: holds 5 booleans; a mask has one for each of the 6 records");
  NEPENTHE_CHECK_MESSAGE(Error, lists.records(npy("|b1", "(2,)", "\0\0"s), 2), "is a mask that is false for every");
  NEPENTHE_CHECK_MESSAGE(Error, lists.records(npy("|u1", "(5,)", "\0\1\0\0\1"s), 5), "all 0 or 1, which is a mask");
  NEPENTHE_CHECK_MESSAGE(Error, lists.records("0\n1\n0\n0\n0\n", 5), "all 0 or 1, which is a mask");
  CHECK(lists.records("0\n1\n", 2) == Ids{0, 1});
  CHECK(lists.records("0\n1\n0\n0\n", 5) == Ids{0, 1, 0, 0});
}
