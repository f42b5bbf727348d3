// JSON that is distrusted: nothing is converted, and what was wrong is said in our words.
#include "engine/formats/json_fields.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"

using namespace nepenthe;

TEST_CASE("JSON: numbers are not converted and do not wrap around") {
  const auto json = parse_object(R"({"half": 1.5, "whole": 2.0, "long": 4294967297, "huge": 18446744073709551615,
    "below": -1, "yes": true, "word": "1", "none": null, "ids": [1, 2.5], "far": [4294967297], "right": [3, 59]})");
  for (const char* name : {"half", "whole", "long", "huge", "below", "yes", "word", "none", "ids", "missing"}) {
    CAPTURE(name);
    CHECK_THROWS_WITH_AS(whole_number(json, name, 0, 59), doctest::Contains(name), Error);
  }
  CHECK(whole_number(json, "long", 0, 4294967297) == 4294967297);
  CHECK_THROWS_WITH_AS(whole_numbers(json, "ids", 0, 59),
                       "\"ids\" holds 2.5; whole numbers from 0 to 59 would be right", Error);
  CHECK_THROWS_WITH_AS(whole_numbers(json, "far", 0, 59), doctest::Contains("4294967297"), Error);
  CHECK(whole_numbers(json, "right", 0, 59) == std::vector<std::int64_t>{3, 59});
  CHECK(seed_number(json, "huge") == 18446744073709551615ULL);
  CHECK_THROWS_AS(seed_number(json, "below"), Error);
  CHECK_THROWS_AS(number(json, "word"), Error);
  CHECK_THROWS_AS(truth(json, "long"), Error);
  CHECK_THROWS_AS(text(json, "yes"), Error);
}

TEST_CASE("JSON: no library's words") {
  for (const char* bad : {"", "{", "[1]", "{\"a\": 01}", "nonsense", "{\"a\": 1} x", "\"a\""}) {
    CAPTURE(bad);
    try {
      (void)member(parse_object(bad), "b");
      FAIL("was read");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("json.exception") == std::string::npos);
      CHECK(std::string(error.what()).find('[') == std::string::npos);
    }
  }
}

TEST_CASE("weights: the ending says the format") {
  CHECK(weights_format("a/b.safetensors") == WeightsFormat::safetensors);
  CHECK(weights_format("b.pt") == WeightsFormat::torch);
  CHECK(weights_format("b.c.pth") == WeightsFormat::torch);
  for (const char* other : {"b", "b.h5", "b.safetensor", "b.pth.tar", ".pt", "b.PT", "b.pt/"}) {
    CAPTURE(other);
    CHECK_THROWS_WITH_AS(weights_format(other), doctest::Contains(".safetensors, .pt or .pth"), UsageError);
  }
}
