// The study's report, out of its records alone.
#pragma once

#include <string>
#include <vector>

#include "unlearning/study/record.h"

namespace nepenthe {

struct ReportFile {
  std::string name;  // may name a folder: "tables/accuracy.csv"
  std::string content;
};

/// "report.html", one self-contained page; "report.md", the same without its figures; "tables/….csv", each table for
/// other programs. What the records do not hold is said where it would stand.
std::vector<ReportFile> study_report(const StudyRecord& study);

/// The main tables and verdicts, for a terminal.
std::string study_summary(const StudyRecord& study);

}  // namespace nepenthe
