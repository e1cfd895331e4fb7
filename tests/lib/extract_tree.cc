// SPDX-License-Identifier: BSD-3-Clause
//
// usage: extract-tree jffs2|ext4|upper|whole IMAGE DIR
//
// Writes the tree that a reader of foreign images finds into the new directory DIR, as root, and
// says what a directory cannot: "whiteout|PATH", "fallthru|PATH", "opaque|PATH".
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include "overlay/sources/ext4_source.h"
#include "overlay/sources/jffs2_source.h"
#include "overlay/sources/upper_source.h"
#include "overlay/tree/attribute_names.h"

namespace {

using namespace unionfs;

void must(bool is_right, const std::string& what) {
  if (!is_right) {
    std::fprintf(stderr, "extract-tree: %s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(1);
  }
}

template <typename T>
T right(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "extract-tree: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

void write_content(FileBytes& content, const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  must(file >= 0 && ftruncate(file, static_cast<off_t>(content.size_bytes())) == 0, path);
  std::vector<std::byte> buffer(size_t{1} << 20);
  for (uint64_t offset = 0;;) {
    const auto data = right(content.next_data(offset));
    if (!data) {
      break;
    }
    const size_t length = std::min<uint64_t>(data->length(), buffer.size());
    right(content.read(data->begin, ByteSpan(buffer).first(length)));
    must(pwrite(file, buffer.data(), length, static_cast<off_t>(data->begin)) ==
             static_cast<ssize_t>(length),
         path);
    offset = data->begin + length;
  }
  close(file);
}

void make_file(const TreeFile& file, const std::string& path) {
  const FileState& state = file.state;
  if (state.is_directory()) {
    must(mkdir(path.c_str(), 0700) == 0, path);
  } else if (state.type() == ext2::kModeSymlink) {
    must(symlink(state.target.c_str(), path.c_str()) == 0, path);
  } else if (file.content) {
    write_content(*file.content, path);
  } else {
    must(mknod(path.c_str(), state.mode, makedev(state.device_major, state.device_minor)) == 0,
         path);
  }
}

void put_state(const FileState& state, const std::string& path) {
  must(lchown(path.c_str(), state.user_id, state.group_id) == 0, path);
  for (const Attribute& attribute : state.attributes) {
    const NamedAttribute named = right(named_attribute(attribute));
    must(
        lsetxattr(path.c_str(), named.name.c_str(), named.value.data(), named.value.size(), 0) == 0,
        path + ": " + named.name);
  }
  if (state.type() != ext2::kModeSymlink) {
    must(chmod(path.c_str(), state.permissions()) == 0, path);
  }
  const timespec times[] = {{state.accessed.seconds, state.accessed.nanoseconds},
                            {state.modified.seconds, state.modified.nanoseconds}};
  must(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, path);
}

void extract(const FileTree& tree, const std::string& directory) {
  std::map<TreeFileId, std::string> first_paths;
  std::vector<std::pair<TreeFileId, std::string>> directories;  // their times change until the end
  right(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (visit.name.mark != TreeMark::kFile) {
      const bool is_whiteout = visit.name.mark == TreeMark::kWhiteout;
      std::printf("%s|%s\n", is_whiteout ? "whiteout" : "fallthru", visit.path.c_str());
      return {};
    }
    const std::string path = visit.path.empty() ? directory : directory + "/" + visit.path;
    const TreeFile& file = tree.file(visit.name.file);
    const auto [known, is_first] = first_paths.try_emplace(visit.name.file, path);
    if (!is_first) {
      must(link(known->second.c_str(), path.c_str()) == 0, path);
      return {};
    }
    make_file(file, path);
    if (file.state.is_directory()) {
      directories.emplace_back(visit.name.file, path);
      if (file.is_opaque) {
        std::printf("opaque|%s\n", visit.path.c_str());
      }
    } else {
      put_state(file.state, path);
    }
    return {};
  }));
  for (size_t at = directories.size(); at-- > 0;) {
    put_state(tree.file(directories[at].first).state, directories[at].second);
  }
}

Result<FileTree> read_tree(const std::string& kind, const std::string& image) {
  if (kind == "jffs2") {
    return read_jffs2_image(image, [](const std::string& note) {
      std::fprintf(stderr, "extract-tree: %s\n", note.c_str());
    });
  }
  if (kind == "ext4") {
    return read_ext4_image(image);
  }
  return kind == "whole" ? read_whole_image(image) : read_foreign_upper(image);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: extract-tree jffs2|ext4|upper|whole IMAGE DIR\n");
    return 2;
  }
  extract(right(read_tree(arguments[1], arguments[2])), arguments[3]);
  return 0;
}
