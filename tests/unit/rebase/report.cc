// SPDX-License-Identifier: BSD-3-Clause
//
// What stops a rebase.
#include "overlay/rebase/report.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace unionfs;

TEST_CASE("Report: undecided conflicts and limits are two things", "[rebase][report]") {
  RebaseReport report;
  CHECK_FALSE(report.has_undecided());
  CHECK_FALSE(report.has_limits());
  Conflict conflict;
  conflict.resolution = Resolution::kOurs;
  report.conflicts = {conflict};
  CHECK_FALSE(report.has_undecided());
  conflict.conflict_class = ConflictClass::kLimit;
  conflict.resolution = Resolution::kNone;
  report.conflicts.push_back(conflict);
  CHECK_FALSE(report.has_undecided());
  CHECK(report.has_limits());
  conflict.conflict_class = ConflictClass::kOwner;
  report.conflicts.push_back(conflict);
  CHECK(report.has_undecided());
}

TEST_CASE("Report: each class has its name", "[rebase][report]") {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(ConflictClass::kNeedsOld); ++i) {
    names.insert(name_of(static_cast<ConflictClass>(i)));
  }
  CHECK(names.size() == static_cast<size_t>(ConflictClass::kNeedsOld) + 1);
  CHECK(names.count("") == 0);
  CHECK(names.count("edit/delete") == 1);
}
