// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/layer_tar.h"

#include <algorithm>

#include "overlay/sinks/tar_stream.h"
#include "overlay/tree/attribute_names.h"

namespace unionfs {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";
constexpr uint16_t kMarkPermissions = 0644;

std::string joined(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

std::string_view last_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

Failure cannot_say(const std::string& path, const std::string& what) {
  return invalid("{}: a layer of OCI cannot have {}", quoted_name(path), what);
}

// Attributes by the names that archives give them.
Result<std::vector<NamedAttribute>> attributes_of(const std::string& path, const FileState& state) {
  std::vector<NamedAttribute> attributes;
  for (const Attribute& attribute : state.attributes) {
    Result<NamedAttribute> named = named_attribute(attribute);
    if (!named) {
      return invalid("{}: {}", quoted_name(path), named.error().message);
    }
    if (named->name.find('=') != std::string::npos) {
      return cannot_say(path, fmt::format("an attribute with \"=\" in its name, as {}",
                                          quoted_name(named->name)));
    }
    attributes.push_back(std::move(*named));
  }
  return attributes;
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char byte) { return (byte & 0x80) == 0; });
}

// Finds what the format has no words for, before a byte is written.
Result<TarStream::Names> check_can_say(const FileTree& tree) {
  auto names = TarStream::Names::kAscii;
  UNIONFS_TRY(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (last_name(visit.path).starts_with(kWhiteoutPrefix)) {
      return cannot_say(visit.path, visit.name.mark == TreeMark::kWhiteout
                                        ? "a whiteout of a name that begins with \".wh.\""
                                        : "a name that begins with \".wh.\", which is a mark");
    }
    if (visit.name.mark == TreeMark::kFallthru) {
      return cannot_say(visit.path, "a name that shows through an opaque directory");
    }
    if (visit.name.mark == TreeMark::kFile) {
      const FileState& state = tree.file(visit.name.file).state;
      UNIONFS_TRY(attributes_of(visit.path, state));
      if (!is_ascii(visit.path) || !is_ascii(state.target)) {
        names = TarStream::Names::kBytes;
      }
    } else if (!is_ascii(visit.path)) {
      names = TarStream::Names::kBytes;
    }
    return {};
  }));
  return names;
}

class LayerTar {
 public:
  LayerTar(const FileTree& tree, const LayerTarOptions& options, TarStream& tar)
      : tree_(tree), options_(options), tar_(tar), first_paths_(tree.file_count()) {}

  Result<LayerTarReport> write() {
    UNIONFS_TRY(walk_tree(tree_, [this](const TreeVisit& visit) { return write_name(visit); }));
    return std::move(report_);
  }

 private:
  Result<void> write_name(const TreeVisit& visit) {
    if (visit.name.mark != TreeMark::kFile) {
      return {};  // its directory has written it
    }
    const TreeFile& file = tree_.file(visit.name.file);
    if (file.state.is_directory()) {
      return write_directory(visit.path, file);
    }
    if (file.state.type() == ext2::kModeSocket) {
      report_.sockets.push_back(visit.path);
      return {};
    }
    ++report_.files;
    if (!visit.is_first_name) {
      return add(visit.path, file.state, first_paths_[visit.name.file]);
    }
    first_paths_[visit.name.file] = visit.path;
    FileState state = file.state;
    state.size_bytes = file.content ? file.content->size_bytes() : 0;
    UNIONFS_TRY(add(visit.path, std::move(state)));
    return file.content ? write_content(*file.content) : Result<void>();
  }

  Result<void> write_directory(const std::string& path, const TreeFile& directory) {
    if (!directory.is_implied) {
      ++report_.files;
      UNIONFS_TRY(add((path.empty() ? "." : path) + "/", directory.state));
    }
    if (directory.is_opaque) {
      UNIONFS_TRY(add_mark(joined(path, kOpaqueName)));
    }
    for (const auto& [name, what] : directory.names) {
      // Whoever unpacks a layer without a socket must not see what is below of that name.
      if (what.mark == TreeMark::kWhiteout ||
          tree_.file(what.file).state.type() == ext2::kModeSocket) {
        ++report_.whiteouts;
        UNIONFS_TRY(add_mark(joined(path, fmt::format("{}{}", kWhiteoutPrefix, name))));
      }
    }
    return {};
  }

  Result<void> add_mark(const std::string& path) {
    FileState mark;
    mark.mode = ext2::kModeRegular | kMarkPermissions;
    mark.modified.seconds = options_.mark_time;
    return tar_.add(path, mark, {});
  }

  Result<void> add(const std::string& path, FileState state, const std::string& first_path = {}) {
    UNIONFS_ASSIGN(const auto attributes, attributes_of(path, state));
    if (!options_.has_nanoseconds) {
      state.modified.nanoseconds = 0;
    }
    return tar_.add(path, state, attributes, first_path);
  }

  // Holes are zeros in the archive.
  Result<void> write_content(FileBytes& content) {
    const uint64_t size = content.size_bytes();
    uint64_t offset = 0;
    while (offset < size) {
      UNIONFS_ASSIGN(const auto data, content.next_data(offset));
      const ByteRange range = data.value_or(ByteRange{size, size});
      UNIONFS_TRY(write_zeros(range.begin - offset));
      buffer_.resize(kPieceBytes);
      for (offset = range.begin; offset < range.end;) {
        const ByteSpan piece =
            ByteSpan(buffer_).first(std::min<uint64_t>(kPieceBytes, range.end - offset));
        UNIONFS_TRY(content.read(offset, piece));
        UNIONFS_TRY(write_piece(piece));
        offset += piece.size();
      }
    }
    return {};
  }

  Result<void> write_zeros(uint64_t length) {
    std::fill(buffer_.begin(), buffer_.end(), std::byte{0});
    buffer_.resize(kPieceBytes);
    while (length > 0) {
      const ByteSpan piece = ByteSpan(buffer_).first(std::min<uint64_t>(kPieceBytes, length));
      UNIONFS_TRY(write_piece(piece));
      length -= piece.size();
    }
    return {};
  }

  Result<void> write_piece(ConstByteSpan piece) {
    UNIONFS_TRY(tar_.add_content(piece));
    report_.content_bytes += piece.size();
    if (options_.progress) {
      options_.progress(report_.content_bytes);
    }
    return {};
  }

  static constexpr size_t kPieceBytes = size_t{1} << 20;

  const FileTree& tree_;
  const LayerTarOptions& options_;
  TarStream& tar_;
  LayerTarReport report_;
  std::vector<std::string> first_paths_;  // of the files that were written
  std::vector<std::byte> buffer_;
};

}  // namespace

Result<LayerTarReport> write_layer_tar(const FileTree& tree, const LayerTarOptions& options,
                                       OutputStream& out) {
  UNIONFS_ASSIGN(const TarStream::Names names, check_can_say(tree));
  UNIONFS_ASSIGN(const auto tar, TarStream::open(out, names));
  UNIONFS_ASSIGN(LayerTarReport report, LayerTar(tree, options, *tar).write());
  UNIONFS_TRY(tar->end());
  return report;
}

uint64_t content_bytes_of(const FileTree& tree) {
  uint64_t bytes = 0;
  const Result<void> walked = walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (visit.name.mark == TreeMark::kFile && visit.is_first_name) {
      const TreeFile& file = tree.file(visit.name.file);
      bytes += file.content ? file.content->size_bytes() : 0;
    }
    return {};
  });
  return walked ? bytes : 0;  // whoever writes such a tree tells what is wrong with it
}

}  // namespace unionfs
