// A made-up study for tests of the report: every experiment there is, three seeds of some, numbers that look like those
// of a real run. The same every time.
#pragma once

#include "unlearning/study/record.h"

namespace nepenthe::test {

StudyRecord sample_study();

}  // namespace nepenthe::test
