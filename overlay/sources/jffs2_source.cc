// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/jffs2_source.h"

#include "fsparse/printable.h"
#include "overlay/host/posix_file.h"
#include "overlay/sources/directory_source.h"
#include "overlay/sources/inode_tree.h"
#include "overlay/sources/jffs2_attributes.h"
#include "overlay/sources/jffs2_file_bytes.h"
#include "overlay/sources/jffs2_nodes.h"

namespace unionfs {
namespace {

constexpr uint32_t kMostTargetBytes = 4095;  // PATH_MAX, without the zero byte behind
constexpr uint32_t kMostDeviceBytes = 4;

class Jffs2Source final : public InodeSource {
 public:
  Jffs2Source(std::shared_ptr<const Image> image, const LogSink& notes, jffs2::Nodes nodes)
      : image_(std::move(image)), notes_(notes), nodes_(std::move(nodes)) {}

  const std::string& name() const override { return image_->name(); }

  Result<std::vector<InodeName>> read_names(uint32_t directory) override {
    std::vector<InodeName> names;
    const auto found = nodes_.directories.find(directory);
    if (found == nodes_.directories.end()) {
      return names;
    }
    for (const auto& [name, newest] : found->second.names) {
      UNIONFS_TRY(check_name(directory, name, newest));
      if (newest.inode == 0 && newest.type == jffs2::kTypeWhiteout) {
        names.push_back({name, TreeMark::kWhiteout, 0});
      } else if (is_there(newest.inode)) {
        names.push_back({name, TreeMark::kFile, newest.inode});
      } else if (newest.inode != 0) {
        note(fmt::format("inode {}: the name {} does not count: there is no inode {}", directory,
                         quoted_name(name), newest.inode));
      }
    }
    return names;
  }

  Result<TreeFile> read_file(uint32_t inode) override {
    TreeFile file;
    if (!has_state(inode)) {
      if (inode != jffs2::kRootInode) {
        note(fmt::format("inode {}: the directory has no state that counts", inode));
      }
      return FileTree().root();
    }
    const std::vector<jffs2::InodeNode>& nodes = nodes_.inodes.at(inode);
    const jffs2::InodeNode& newest = nodes.back();
    UNIONFS_TRY(put_state(inode, newest, file.state));
    UNIONFS_ASSIGN(file.state.attributes, jffs2::attributes_of(*image_, nodes_, inode));
    switch (file.state.type()) {
      case ext2::kModeRegular: {
        UNIONFS_ASSIGN(file.content, jffs2::bytes_of_nodes(image_, inode, nodes));
        file.state.size_bytes = file.content ? file.content->size_bytes() : 0;
        break;
      }
      case ext2::kModeSymlink:
        UNIONFS_TRY(read_target(inode, newest, file.state));
        break;
      case ext2::kModeCharDevice:
      case ext2::kModeBlockDevice:
        UNIONFS_TRY(read_device(inode, newest, file.state));
        break;
      default:
        break;
    }
    return file;
  }

 private:
  // A directory none of whose nodes counts is there all the same, because of the names in it.
  bool has_state(uint32_t inode) const { return nodes_.inodes.contains(inode); }
  bool is_there(uint32_t inode) const {
    return inode != 0 && (has_state(inode) || nodes_.directories.contains(inode));
  }

  Result<void> check_name(uint32_t directory, const std::string& name,
                          const jffs2::NewestName& newest) const {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
      return corrupt("{}: inode {}: no file can have the name {}", image_->name(), directory,
                     quoted_name(name));
    }
    if (newest.inode == 0 && newest.type != jffs2::kTypeDeleted &&
        newest.type != jffs2::kTypeWhiteout) {
      return unsupported("{}: inode {}: the name {} has no inode, but the unknown type {}",
                         image_->name(), directory, quoted_name(name), newest.type);
    }
    return {};
  }

  Result<void> put_state(uint32_t inode, const jffs2::InodeNode& node, FileState& state) const {
    state.mode = static_cast<uint16_t>(node.mode);
    if (node.mode > UINT16_MAX || file_type_of(state.mode) == ext2::kFileTypeUnknown) {
      return corrupt("{}: inode {}: its mode {:#o} is none", image_->name(), inode, node.mode);
    }
    state.user_id = node.user_id;
    state.group_id = node.group_id;
    state.accessed.seconds = node.accessed;
    state.modified.seconds = node.modified;
    state.changed.seconds = node.changed;
    if (!state.is_directory()) {
      return {};
    }
    if ((node.flags & ~jffs2::kKnownFlags) != 0) {
      return unsupported("{}: inode {}: a directory with the unknown flags {:#x}", image_->name(),
                         inode, node.flags);
    }
    const auto names = nodes_.directories.find(inode);
    if (names != nodes_.directories.end() && names->second.time_version > node.version) {
      state.modified.seconds = state.changed.seconds = names->second.time;
    }
    return {};
  }

  Result<void> read_target(uint32_t inode, const jffs2::InodeNode& node, FileState& state) const {
    UNIONFS_ASSIGN(const std::vector<std::byte> data,
                   jffs2::data_of_node(*image_, inode, node, kMostTargetBytes));
    state.target.assign(reinterpret_cast<const char*>(data.data()), data.size());
    if (state.target.empty() || state.target.find('\0') != std::string::npos) {
      return corrupt("{}: inode {}: the symlink has no target, or one with a zero byte",
                     image_->name(), inode);
    }
    return {};
  }

  // In the kernel's old encoding, or where that does not do, in its new one (kdev_t.h).
  Result<void> read_device(uint32_t inode, const jffs2::InodeNode& node, FileState& state) const {
    UNIONFS_ASSIGN(const std::vector<std::byte> data,
                   jffs2::data_of_node(*image_, inode, node, kMostDeviceBytes));
    const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
    if (data.size() == sizeof(jffs2::U16)) {
      const uint16_t number = jffs2::U16{{bytes[0], bytes[1]}}.in(nodes_.order);
      state.device_major = number >> 8;
      state.device_minor = number & 0xff;
    } else if (data.size() == sizeof(jffs2::U32)) {
      const uint32_t number = jffs2::U32{{bytes[0], bytes[1], bytes[2], bytes[3]}}.in(nodes_.order);
      state.device_major = number >> 8 & 0xfff;
      state.device_minor = (number & 0xff) | (number >> 12 & 0xfff00);
    } else {
      return corrupt("{}: inode {}: a device number of {} bytes", image_->name(), inode,
                     data.size());
    }
    return {};
  }

  void note(const std::string& what) const {
    if (notes_) {
      notes_(fmt::format("{}: {}", image_->name(), what));
    }
  }

  const std::shared_ptr<const Image> image_;
  const LogSink& notes_;
  const jffs2::Nodes nodes_;
};

}  // namespace

Result<bool> is_jffs2(const Image& image) {
  UNIONFS_ASSIGN(const auto order, jffs2::find_byte_order(image));
  return order.has_value();
}

Result<FileTree> read_jffs2_image(std::shared_ptr<const Image> image, const LogSink& notes) {
  UNIONFS_ASSIGN(jffs2::Nodes nodes, jffs2::read_nodes(*image, notes));
  Jffs2Source source(image, notes, std::move(nodes));
  UNIONFS_ASSIGN(FileTree tree, read_inode_tree(source, jffs2::kRootInode));
  UNIONFS_TRY(apply_overlayfs_marks(tree, image->name()));
  return tree;
}

Result<FileTree> read_jffs2_image(const std::string& path, const LogSink& notes) {
  UNIONFS_ASSIGN(std::shared_ptr<const Image> image, PosixFile::open(path, FileLock::kShared));
  return read_jffs2_image(std::move(image), notes);
}

}  // namespace unionfs
