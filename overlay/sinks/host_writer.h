// SPDX-License-Identifier: BSD-3-Clause
//
// Makes files in a directory of the host, and never outside of it.
#ifndef UNIONFS_OVERLAY_SINKS_HOST_WRITER_H
#define UNIONFS_OVERLAY_SINKS_HOST_WRITER_H

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "overlay/tree/attribute_names.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// A descriptor that closes itself.
class OwnedDescriptor {
 public:
  explicit OwnedDescriptor(int number = -1) : number_(number) {}
  ~OwnedDescriptor();
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  OwnedDescriptor(const OwnedDescriptor&) = delete;
  OwnedDescriptor& operator=(const OwnedDescriptor&) = delete;

  int get() const { return number_; }

 private:
  int number_;
};

// Of all methods: a path is one from the top directory on, without a slash in front; "" is the
// top itself.  Each step of it is one name in an opened directory, and no symlink is followed,
// so that it leads below the top whatever lies there, or is put there meanwhile.  kInvalid for a
// path with "." or "..".  Errors name the path.
//
// Not thread-safe.
class HostWriter {
 public:
  // The directory itself may be named through symlinks.
  static Result<std::unique_ptr<HostWriter>> open(const std::string& top);

  // A descriptor of the directory.
  Result<const OwnedDescriptor*> directory(const std::string& path);

  // A directory that is there stays; anything else in its place is removed first.  Whether it
  // is new.
  Result<bool> make_directory(const std::string& path, uint32_t permissions);
  // What is in the place of each of these is removed first; a directory only if it is empty.
  // What is made is returned open: a regular file to be written, all else O_PATH.
  Result<OwnedDescriptor> make_file(const std::string& path, uint32_t permissions);
  Result<OwnedDescriptor> make_symlink(const std::string& path, const std::string& target);
  // A device, fifo or socket; `mode` with its type.
  Result<OwnedDescriptor> make_node(const std::string& path, uint32_t mode, uint32_t major,
                                    uint32_t minor);
  Result<void> make_link(const std::string& path, const std::string& first_path);
  // Removes what is there, a directory only if it is empty.
  Result<void> remove(const std::string& path);

 private:
  HostWriter(std::string name, OwnedDescriptor top)
      : name_(std::move(name)), top_(std::move(top)) {}

  struct Place {
    int directory;
    std::string name;  // its last one
  };
  Result<Place> place_of(const std::string& path);
  Result<Place> free_place(const std::string& path);
  Result<OwnedDescriptor> open_made(const Place& place, const std::string& path) const;
  Failure failure(const std::string& path, const char* what) const;

  const std::string name_;
  const OwnedDescriptor top_;
  std::optional<std::string> near_path_;  // the directory that was opened last
  OwnedDescriptor near_;
};

// ---- what a file that is open is like ----------------------------------------------
// `descriptor` may be an O_PATH one.  Errors are kSystem and say what was tried; the caller adds
// the path.
Result<void> set_host_owner(int descriptor, uint32_t user_id, uint32_t group_id);
Result<void> set_host_permissions(int descriptor, uint32_t permissions);
Result<void> set_host_times(int descriptor, const FileTime& accessed, const FileTime& modified);
Result<void> set_host_attribute(int descriptor, const NamedAttribute& attribute);
Result<void> remove_host_attribute(int descriptor, const std::string& name);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_HOST_WRITER_H
