// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/sources/sources_fixture.h"

#include <map>
#include <span>

#include "fsparse/ext2_format.h"
#include "overlay/sources/byte_stream.h"

namespace unionfs::testing {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameBytes = 100;

std::string octal(uint64_t number, size_t width) {
  return fmt::format("{:0{}o}", number, width - 1) + '\0';
}

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + kBlock - 1) / kBlock * kBlock);
  return bytes;
}

// IEEE Std 1003.1, pax: ustar Interchange Format.
std::string header(const TarEntry& entry, size_t size) {
  std::string bytes(kBlock, '\0');
  const auto put = [&](size_t at, const std::string& text) {
    bytes.replace(at, text.size(), text);
  };
  put(0, entry.name.substr(0, kNameBytes));
  put(100, octal(entry.mode, 8));
  put(108, octal(entry.user_id & 07777777, 8));
  put(116, octal(entry.group_id & 07777777, 8));
  put(124, octal(size, 12));
  put(136, octal(entry.modified, 12));
  put(148, "        ");
  put(156, std::string(1, entry.type));
  put(157, entry.target.substr(0, kNameBytes));
  put(257, std::string("ustar\0"
                       "00",
                       8));
  put(329, octal(entry.device_major & 07777777, 8));
  put(337, octal(entry.device_minor & 07777777, 8));
  uint32_t sum = 0;
  for (const char byte : bytes) {
    sum += static_cast<unsigned char>(byte);
  }
  put(148, octal(sum, 7) + ' ');
  return bytes;
}

std::string pax_record(const std::string& key, const std::string& value) {
  const std::string rest = " " + key + "=" + value + "\n";
  size_t length = rest.size();
  while (length != rest.size() + std::to_string(length).size()) {
    length = rest.size() + std::to_string(length).size();
  }
  return std::to_string(length) + rest;
}

std::string pax_header(const TarEntry& entry) {
  std::string records;
  for (const auto& [key, value] : entry.pax) {
    records += pax_record(key, value);
  }
  if (entry.name.size() > kNameBytes) {
    records += pax_record("path", entry.name);
  }
  if (entry.target.size() > kNameBytes) {
    records += pax_record("linkpath", entry.target);
  }
  if (entry.user_id > 07777777) {
    records += pax_record("uid", std::to_string(entry.user_id));
  }
  if (entry.group_id > 07777777) {
    records += pax_record("gid", std::to_string(entry.group_id));
  }
  if (records.empty()) {
    return "";
  }
  TarEntry extension{"PaxHeaders/x", 'x'};
  return header(extension, records.size()) + padded(records);
}

std::string attributes_text(const FileState& state) {
  std::string text;
  for (const Attribute& attribute : state.attributes) {
    text += " " + attribute.full_name() + "=";
    for (const std::byte byte : attribute.value) {
      const auto character = static_cast<char>(byte);
      text += character >= ' ' && character <= '~' ? std::string(1, character)
                                                   : fmt::format("\\{:02x}", unsigned(byte));
    }
  }
  return text;
}

std::string file_text(const TreeFile& file) {
  static const std::map<uint16_t, std::string> kTypes = {
      {ext2::kModeRegular, "file"},      {ext2::kModeDirectory, "dir"},
      {ext2::kModeSymlink, "link"},      {ext2::kModeCharDevice, "char"},
      {ext2::kModeBlockDevice, "block"}, {ext2::kModeFifo, "fifo"},
      {ext2::kModeSocket, "socket"}};
  const FileState& state = file.state;
  std::string text = fmt::format("{} {:04o} {}:{} {}.{:09}", kTypes.at(state.type()),
                                 state.permissions(), state.user_id, state.group_id,
                                 state.modified.seconds, state.modified.nanoseconds);
  if (file.is_implied) {
    text = "implied";
  }
  text += file.is_opaque ? " opaque" : "";
  text += state.target.empty() ? "" : " -> " + printable(state.target);
  if (state.device_major != 0 || state.device_minor != 0) {
    text += fmt::format(" {}:{}", state.device_major, state.device_minor);
  }
  if (state.user_flags != 0) {
    text += fmt::format(" flags {:#x}", state.user_flags);
  }
  if (file.content != nullptr) {
    text += " " + content_text(*file.content);
  }
  return text + attributes_text(state);
}

}  // namespace

std::string tar_of(const std::vector<TarEntry>& entries) {
  std::string bytes;
  for (const TarEntry& entry : entries) {
    bytes += pax_header(entry) + header(entry, entry.content.size()) + padded(entry.content);
  }
  return bytes + std::string(kTarEndBytes, '\0');
}

TarTest::TarTest() {
  context.spool = value_of(ContentSpool::create_in_memory());
  context.warn = [this](const std::string& line) { warnings.push_back(line); };
}

Result<FileTree> TarTest::read(const std::string& bytes, TarRules rules) {
  const auto all = std::as_bytes(std::span(bytes));
  const auto stream = stream_in_memory("a.tar", {all.begin(), all.end()});
  return read_tar_stream(*stream, rules, context);
}

std::string content_text(FileBytes& bytes) {
  constexpr uint64_t kShown = 40;
  std::string text = fmt::format("{} bytes", bytes.size_bytes());
  for (uint64_t offset = 0;;) {
    const auto range = value_of(bytes.next_data(offset));
    if (!range) {
      return text;
    }
    std::string data(range->length(), '\0');
    expect_success(bytes.read(range->begin, std::as_writable_bytes(std::span(data))));
    text +=
        fmt::format(" {}+{}:{}", range->begin, range->length(), printable(data.substr(0, kShown)));
    offset = range->end;
  }
}

std::string tree_text(const FileTree& tree) {
  std::string text;
  std::map<TreeFileId, std::string> first;
  expect_success(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    text += visit.path.empty() ? "/" : printable(visit.path);
    if (visit.name.mark != TreeMark::kFile) {
      text += visit.name.mark == TreeMark::kWhiteout ? " whiteout\n" : " fallthru\n";
    } else if (!visit.is_first_name) {
      text += " = " + first.at(visit.name.file) + "\n";
    } else {
      first[visit.name.file] = printable(visit.path);
      text += " " + file_text(tree.file(visit.name.file)) + "\n";
    }
    return {};
  }));
  return text;
}

void run_in(const ScratchDirectory& directory, const std::string& script) {
  run({"bash", "-c", "set -euo pipefail; cd \"$1\"\n" + script, "bash", directory.path().string()});
}

}  // namespace unionfs::testing
