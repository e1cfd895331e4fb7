// SPDX-License-Identifier: BSD-3-Clause
//
// How much changed below each directory.
#include <map>
#include <set>

#include "tools/command_line/state_json.h"
#include "tools/look/change_output.h"

namespace unionfs::img {
namespace {

struct ChangeSums {
  ChangeCounts counts;
  uint64_t new_bytes = 0;   // of files that were added, and of changed blocks
  uint64_t gone_bytes = 0;  // of files that were deleted
  bool is_directory = false;

  Json json() const {
    Json json = Json::object();
    for (const ChangeKindName& kind : kChangeKindNames) {
      json[kind.name] = counts.of(kind.kind);
    }
    json["new_bytes"] = new_bytes;
    json["gone_bytes"] = gone_bytes;
    return json;
  }
};

class ChangeStat : public ChangeOutput {
 public:
  ChangeStat(const ChosenPaths& chosen, bool as_json, Spool& out)
      : chosen_(chosen), as_json_(as_json), out_(out) {}

  Result<void> add(const Change& change) override {
    const std::string_view part = chosen_.part_of(change);
    auto found = parts_.find(part);
    if (found == parts_.end()) {
      found = parts_.emplace(part, ChangeSums()).first;
    }
    ChangeSums& sums = found->second;
    const uint64_t bytes = bytes_of(change);
    for (ChangeSums* each : {&sums, &total_}) {
      each->counts.add(change.kind);
      (change.kind == ChangeKind::kDeleted ? each->gone_bytes : each->new_bytes) += bytes;
    }
    sums.is_directory |= change.file_type == ext2::kFileTypeDirectory ||
                         (change.path != part && change.from != part);
    return {};
  }

  void end() override {
    if (as_json_) {
      put_json();
    } else {
      put_text();
    }
  }

 private:
  // A file of several names counts once.
  uint64_t bytes_of(const Change& change) {
    const bool is_deleted = change.kind == ChangeKind::kDeleted;
    if (change.file_type != ext2::kFileTypeRegular || change.is_link ||
        !counted_.insert({is_deleted, change.inode}).second) {
      return 0;
    }
    return is_deleted                          ? change.old_size_bytes
           : change.kind == ChangeKind::kAdded ? change.new_size_bytes
                                               : change.changed_bytes;
  }

  void put_text() {
    constexpr const char* kRow = "{:>8} {:>8} {:>8} {:>8} {:>8} {:>11} {:>11}  {}\n";
    if (!parts_.empty()) {
      out_.add(fmt::format(fmt::runtime(kRow), "ADDED", "MODIFIED", "METADATA", "DELETED",
                           "RENAMED", "NEW", "GONE", "NAME"));
    }
    for (const auto& [part, sums] : parts_) {
      const char* slash = sums.is_directory && part != "/" ? "/" : "";
      out_.add(fmt::format(
          fmt::runtime(kRow), sums.counts.of(ChangeKind::kAdded),
          sums.counts.of(ChangeKind::kModified), sums.counts.of(ChangeKind::kMetadata),
          sums.counts.of(ChangeKind::kDeleted), sums.counts.of(ChangeKind::kRenamed),
          human_size(sums.new_bytes), human_size(sums.gone_bytes), printable(part) + slash));
    }
    out_.add(fmt::format("{}: {} new, {} gone\n", total_.counts.text(),
                         human_size(total_.new_bytes), human_size(total_.gone_bytes)));
  }

  void put_json() {
    out_.add("{\n  \"format\": 1,\n  \"stat\": ");
    JsonArrayPrinter array(out_, 1);
    for (const auto& [part, sums] : parts_) {
      Json json = Json::object();
      put_bytes(json, "path", part);
      json.update(sums.json());
      array.add(json);
    }
    array.end();
    out_.add(fmt::format(",\n  \"total\": {}\n}}\n", total_.json().dump()));
  }

  const ChosenPaths& chosen_;
  bool as_json_;
  Spool& out_;
  std::map<std::string, ChangeSums, std::less<>> parts_;
  ChangeSums total_;
  std::set<std::pair<bool, InodeNumber>> counted_;  // whether deleted, and which
};

}  // namespace

std::unique_ptr<ChangeOutput> stat_of_changes(const ChosenPaths& chosen, bool as_json, Spool& out) {
  return std::make_unique<ChangeStat>(chosen, as_json, out);
}

}  // namespace unionfs::img
