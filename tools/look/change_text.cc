// SPDX-License-Identifier: BSD-3-Clause
//
// Changes as lines for people, and as records for programs.
#include <fmt/ranges.h>

#include "tools/command_line/text.h"
#include "tools/look/change_output.h"

namespace unionfs::img {
namespace {

std::string sizes_of(const Change& change) {
  const bool is_sized = change.file_type == ext2::kFileTypeRegular;
  std::string text;
  if (is_sized && change.kind == ChangeKind::kAdded) {
    text = fmt::format("{} bytes", change.new_size_bytes);
  } else if (is_sized && change.kind == ChangeKind::kDeleted) {
    text = fmt::format("{} bytes", change.old_size_bytes);
  } else if (is_sized && change.is_content_changed) {
    text = change.old_size_bytes == change.new_size_bytes
               ? fmt::format("{} bytes", change.new_size_bytes)
               : fmt::format("{} -> {} bytes", change.old_size_bytes, change.new_size_bytes);
    text += fmt::format(", {} in changed blocks", change.changed_bytes);
  } else if (change.is_content_changed) {
    text = "content";
  }
  if (!change.metadata.empty()) {
    text += fmt::format("{}{}", text.empty() ? "" : "; ", fmt::join(change.metadata, ", "));
  }
  if (change.is_link) {
    text += text.empty() ? "a link" : ", a link";
  }
  return text.empty() ? text : "  (" + text + ")";
}

class ChangeLines : public ChangeOutput {
 public:
  explicit ChangeLines(Spool& out) : out_(out) {}

  Result<void> add(const Change& change) override {
    counts_.add(change.kind);
    const char* slash =
        change.file_type == ext2::kFileTypeDirectory && change.path != "/" ? "/" : "";
    const std::string from =
        change.kind == ChangeKind::kRenamed ? printable(change.from) + slash + " -> " : "";
    out_.add(fmt::format("{:<8}  {}{}{}{}\n", name_of(change.kind).name, from,
                         printable(change.path), slash, sizes_of(change)));
    return {};
  }

  void end() override { out_.add(counts_.text() + "\n"); }

 private:
  Spool& out_;
  ChangeCounts counts_;
};

class ChangeRecords : public ChangeOutput {
 public:
  explicit ChangeRecords(Spool& out) : out_(out) {}

  Result<void> add(const Change& change) override {
    put(name_of(change.kind).letter, change.path);
    if (change.kind == ChangeKind::kRenamed) {
      put('F', change.from);
    }
    return {};
  }

  void end() override {}

 private:
  // No path of a directory entry has a NUL.
  void put(char letter, const std::string& path) {
    out_.add(fmt::format("{} {}{}", letter, path, '\0'));
  }

  Spool& out_;
};

}  // namespace

std::string ChangeCounts::text() const {
  std::vector<std::string> parts;
  for (const ChangeKindName& kind : kChangeKindNames) {
    parts.push_back(fmt::format("{} {}", of(kind.kind), kind.name));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::unique_ptr<ChangeOutput> text_of_changes(Spool& out) {
  return std::make_unique<ChangeLines>(out);
}

std::unique_ptr<ChangeOutput> records_of_changes(Spool& out) {
  return std::make_unique<ChangeRecords>(out);
}

}  // namespace unionfs::img
