// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/nbd_image.h"
#include "overlay/host/mutex.h"

#include <libnbd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace unionfs {
namespace {

constexpr size_t kMostBytesOfRead = size_t{1} << 20;

class NbdImage final : public Image {
 public:
  explicit NbdImage(std::string name) : name_(std::move(name)), handle_(nbd_create()) {}
  ~NbdImage() override {
    if (handle_ != nullptr) {
      nbd_shutdown(handle_, 0);  // the server sees an end, not a broken connection
      nbd_close(handle_);
    }
  }
  NbdImage(const NbdImage&) = delete;
  NbdImage& operator=(const NbdImage&) = delete;

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return size_bytes_; }

  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    const MutexLock lock(mutex_);
    while (!buffer.empty()) {
      const size_t length = std::min(buffer.size(), kMostBytesOfRead);
      if (nbd_pread(handle_, buffer.data(), length, offset, 0) == -1) {
        return failure();
      }
      buffer = buffer.subspan(length);
      offset += length;
    }
    return {};
  }

  Result<void> connect_to(const std::string& uri) {
    if (handle_ == nullptr || nbd_connect_uri(handle_, uri.c_str()) == -1) {
      Failure refused = failure();
      refused.value().message = with_shown_uri(refused.value().message, uri);
      return refused;
    }
    return learn_size();
  }

  Result<void> run(const std::vector<std::string>& command) {
    std::vector<char*> words;
    for (const std::string& word : command) {
      words.push_back(const_cast<char*>(word.c_str()));
    }
    words.push_back(nullptr);
    if (handle_ == nullptr || nbd_connect_systemd_socket_activation(handle_, words.data()) == -1) {
      return failure();
    }
    return learn_size();
  }

 private:
  Result<void> learn_size() {
    const int64_t size = nbd_get_size(handle_);
    if (size < 0) {
      return failure();
    }
    size_bytes_ = static_cast<uint64_t>(size);
    return {};
  }

  Failure failure() const {
    const char* said = nbd_get_error();
    const int number = nbd_get_errno();
    return make_failure(ErrorKind::kSystem, number == 0 ? EIO : number,
                        fmt::format("{}: {}", name_, said == nullptr ? "no memory" : said));
  }

  const std::string name_;
  mutable Mutex mutex_;  // one request at a time
  nbd_handle* const handle_;
  uint64_t size_bytes_ = 0;
};

}  // namespace

Result<std::shared_ptr<const Image>> open_nbd_image(const std::string& uri) {
  auto image = std::make_shared<NbdImage>(shown_nbd_uri(uri));
  UNIONFS_TRY(image->connect_to(uri));
  return std::shared_ptr<const Image>(std::move(image));
}

Result<std::shared_ptr<const Image>> open_qcow2_image(const std::string& path) {
  auto image = std::make_shared<NbdImage>(path);
  std::error_code error;
  // Whole, so that no part of the name is taken for a protocol of QEMU's.
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  if (error) {
    return system_failure(error.value(), path);
  }
  const Result<void> running =
      image->run({"qemu-nbd", "--read-only", "--format=qcow2", whole.string()});
  if (!running) {
    return unsupported(
        "{}; reading a qcow2 image takes qemu-nbd, which Debian has in the package qemu-utils",
        running.error().message);
  }
  return std::shared_ptr<const Image>(std::move(image));
}

}  // namespace unionfs
