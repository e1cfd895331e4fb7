// SPDX-License-Identifier: BSD-3-Clause
//
// Changes as JSON, each with the states of its file.
#include <map>

#include "tools/command_line/state_json.h"
#include "tools/look/change_output.h"

namespace unionfs::img {
namespace {

class ChangeJson : public ChangeOutput {
 public:
  ChangeJson(const ComparedTrees& trees, Spool& out) : trees_(trees), out_(out), array_(out, 1) {
    out_.add("{\n  \"format\": 1,\n  \"changes\": ");
  }

  Result<void> add(const Change& change) override {
    const bool is_deleted = change.kind == ChangeKind::kDeleted;
    std::optional<FileState> before;
    std::optional<FileState> now;
    if (change.kind != ChangeKind::kAdded) {
      UNIONFS_ASSIGN(before, file_state_of(trees_.lower, change.below));
    }
    if (!is_deleted) {
      UNIONFS_ASSIGN(now, file_state_of(trees_.merged, change.inode));
    }
    Json json = facts_of(change);
    put_link_group(json, change, is_deleted ? *before : *now,
                   is_deleted ? first_names_before_ : first_names_now_);
    json["old"] = before ? to_json(*before) : Json();
    json["new"] = now ? to_json(*now) : Json();
    array_.add(json);
    return {};
  }

  void end() override {
    array_.end();
    out_.add("\n}\n");
  }

 private:
  // Of files of several names: the first name that was told.
  using FirstNames = std::map<InodeNumber, const std::string*>;

  static Json facts_of(const Change& change) {
    Json json{{"change", name_of(change.kind).name}};
    put_bytes(json, "path", change.path);
    if (change.kind == ChangeKind::kRenamed) {
      put_bytes(json, "from", change.from);
    }
    if (change.kind == ChangeKind::kAdded || change.kind == ChangeKind::kDeleted) {
      json["link"] = change.is_link;
      if (change.kind == ChangeKind::kAdded && change.is_link) {
        put_bytes(json, "link_of", change.link_of);
      }
    } else {
      json["content"] = change.is_content_changed;
      json["changed_bytes"] = change.changed_bytes;
      json["metadata"] = change.metadata;
    }
    return json;
  }

  static void put_link_group(Json& json, const Change& change, const FileState& state,
                             FirstNames& first_names) {
    if (!state.is_directory() && state.links_count > 1) {
      put_bytes(json, "link_group",
                *first_names.try_emplace(state.inode, &change.path).first->second);
    }
  }

  const ComparedTrees& trees_;
  Spool& out_;
  JsonArrayPrinter array_;
  FirstNames first_names_before_;
  FirstNames first_names_now_;
};

}  // namespace

std::unique_ptr<ChangeOutput> json_of_changes(const ComparedTrees& trees, Spool& out) {
  return std::make_unique<ChangeJson>(trees, out);
}

}  // namespace unionfs::img
