// SPDX-License-Identifier: BSD-3-Clause

#include "client.h"

#include <fmt/format.h>
#include <libnbd.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace blocktest {

namespace {

constexpr std::size_t in_flight_limit_per_connection = 12;
constexpr std::uint64_t in_flight_limit_bytes = std::uint64_t{24} << 20;
constexpr std::chrono::seconds answer_limit{
    60};  // longer than any server under a sanitizer takes: a hang
constexpr std::uint32_t verify_request_bytes = 1U << 20;
constexpr std::uint32_t extent_hole = 1;
constexpr std::uint32_t extent_zero = 2;

bool changes_something(RequestKind kind) {
  return kind == RequestKind::write || kind == RequestKind::write_of_zeros ||
         kind == RequestKind::zero || kind == RequestKind::trim;
}

bool carries_data(RequestKind kind) {
  return kind == RequestKind::read || kind == RequestKind::write ||
         kind == RequestKind::write_of_zeros;
}

const char* name_of(RequestKind kind) {
  static constexpr const char* names[] = {"read", "write", "write of zeros", "zero",
                                          "trim", "flush", "cache",          "block status"};
  return names[static_cast<std::size_t>(kind)];
}

ChangeKind change_kind(RequestKind kind) {
  if (kind == RequestKind::write) {
    return ChangeKind::write;
  }
  return kind == RequestKind::trim ? ChangeKind::trim : ChangeKind::zero;
}

bool dead(nbd_handle* handle) {
  return nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1;
}

}  // namespace

struct Client::Operation {
  Request request;
  std::uint64_t sequence = 0;
  DiskModel::FlushMark flush_mark = 0;
  std::vector<std::uint8_t> buffer;
  std::vector<std::uint32_t> extents;  // length, flags, length, flags ...
  bool completed = false;
  int error = 0;

  // libnbd holds the handle's lock while it calls these: they only note what came.
  static int on_completion(void* data, int* error) {
    auto* operation = static_cast<Operation*>(data);
    operation->completed = true;
    operation->error = *error;
    return 1;
  }

  static int on_extents(void* data, const char*, std::uint64_t, std::uint32_t* entries,
                        std::size_t entry_count, int*) {
    auto* operation = static_cast<Operation*>(data);
    operation->extents.assign(entries, entries + entry_count);
    return 0;
  }
};

Client::Client(std::string uri, unsigned connection_count, DiskModel& model)
    : uri_(std::move(uri)), connection_count_(connection_count), model_(model) {}

Client::~Client() {
  // Closing first: libnbd still knows the buffers and calls back for what it aborts.
  close_all();
}

nbd_handle* Client::open_connection(bool first) {
  nbd_handle* handle = nbd_create();
  if (handle == nullptr) {
    throw std::runtime_error(nbd_get_error());
  }
  if (nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_uri(handle, uri_.c_str()) == -1) {
    nbd_close(handle);
    return nullptr;
  }
  if (first) {
    check_abilities(handle);
  }
  return handle;
}

void Client::check_abilities(nbd_handle* handle) {
  abilities_.size_bytes = static_cast<std::uint64_t>(nbd_get_size(handle));
  abilities_.read_only = nbd_is_read_only(handle) == 1;
  abilities_.flush = nbd_can_flush(handle) == 1;
  abilities_.force_unit_access = nbd_can_fua(handle) == 1;
  abilities_.zero = nbd_can_zero(handle) == 1;
  abilities_.fast_zero = nbd_can_fast_zero(handle) == 1;
  abilities_.trim = nbd_can_trim(handle) == 1;
  abilities_.cache = nbd_can_cache(handle) == 1;
  abilities_.block_status = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  abilities_.multi_connection = nbd_can_multi_conn(handle) == 1;
  if (abilities_.size_bytes != model_.size_bytes()) {
    nbd_close(handle);
    throw Failure(fmt::format("the export has {} bytes, expected {}", abilities_.size_bytes,
                              model_.size_bytes()));
  }
  if (nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM) > 1) {
    nbd_close(handle);
    throw Failure("the server asks for a minimum block size: every alignment must do");
  }
}

bool Client::connect(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    lost_ = false;
    while (handles_.size() < connection_count_) {
      nbd_handle* handle = open_connection(handles_.empty());
      if (handle == nullptr) {
        break;
      }
      handles_.push_back(handle);
    }
    // Some may belong to a server that has died meanwhile.
    if (handles_.size() == connection_count_) {
      step(std::chrono::milliseconds(0));
      if (!lost_) {
        return true;
      }
    }
    close_all();
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void Client::close_all() {
  for (nbd_handle* handle : handles_) {
    nbd_close(handle);
  }
  handles_.clear();
}

void Client::disconnect() {
  drain();
  if (lost_) {
    throw Failure("the server closed the connection");
  }
  for (nbd_handle* handle : handles_) {
    nbd_shutdown(handle, 0);
  }
  close_all();
}

bool Client::conflicts(const Request& request) const {
  if (request.kind == RequestKind::flush) {
    return false;
  }
  const std::uint64_t first_sector = request.offset_bytes / sector_size_bytes;
  const std::uint64_t last_sector =
      (request.offset_bytes + request.length_bytes - 1) / sector_size_bytes;
  return std::any_of(in_flight_.begin(), in_flight_.end(), [&](const auto& operation) {
    const Request& other = operation->request;
    if (other.kind == RequestKind::flush ||
        (!changes_something(request.kind) && !changes_something(other.kind))) {
      return false;
    }
    const std::uint64_t other_first = other.offset_bytes / sector_size_bytes;
    const std::uint64_t other_last =
        (other.offset_bytes + other.length_bytes - 1) / sector_size_bytes;
    return first_sector <= other_last && other_first <= last_sector;
  });
}

void Client::submit(const Request& request) {
  auto has_room = [&] {
    return in_flight_.size() < in_flight_limit_per_connection * connection_count_ &&
           in_flight_bytes_ < in_flight_limit_bytes && !conflicts(request);
  };
  const auto deadline = std::chrono::steady_clock::now() + answer_limit;
  while (!lost_ && !has_room()) {
    step(std::chrono::milliseconds(1000));
    if (std::chrono::steady_clock::now() > deadline) {
      throw Failure(fmt::format("no answer to a {} at {} within {} s",
                                name_of(in_flight_.front()->request.kind),
                                in_flight_.front()->request.offset_bytes, answer_limit.count()));
    }
  }
  if (lost_) {
    return;
  }
  auto operation = std::make_unique<Operation>();
  operation->request = request;
  if (changes_something(request.kind)) {
    operation->sequence =
        model_.begin(change_kind(request.kind), request.offset_bytes, request.length_bytes);
  }
  operation->flush_mark = model_.begin_flush();
  if (carries_data(request.kind)) {
    operation->buffer.resize(request.length_bytes);
  }
  if (request.kind == RequestKind::write) {
    fill_stamped(request.offset_bytes, operation->sequence, model_.seed(), operation->buffer);
  }
  if (issue(*operation) == -1) {
    // It was never queued, so it certainly did not happen.
    if (changes_something(request.kind)) {
      model_.reject(operation->sequence);
    }
    if (!dead(handles_[request.connection])) {
      throw std::runtime_error(nbd_get_error());
    }
    lost_ = true;
    return;
  }
  ++counters_.requests;
  in_flight_bytes_ += operation->buffer.size();
  in_flight_.push_back(std::move(operation));
}

std::int64_t Client::issue(Operation& operation) {
  const Request& request = operation.request;
  nbd_handle* handle = handles_[request.connection];
  const nbd_completion_callback completion = {&Operation::on_completion, &operation, nullptr};
  const std::uint32_t fua = request.force_unit_access ? LIBNBD_CMD_FLAG_FUA : 0U;
  std::uint32_t flags = 0;
  switch (request.kind) {
    case RequestKind::read:
      return nbd_aio_pread(handle, operation.buffer.data(), request.length_bytes,
                           request.offset_bytes, completion, 0);
    case RequestKind::write:
    case RequestKind::write_of_zeros:
      return nbd_aio_pwrite(handle, operation.buffer.data(), request.length_bytes,
                            request.offset_bytes, completion, fua);
    case RequestKind::zero:
      flags = fua | (request.no_hole ? LIBNBD_CMD_FLAG_NO_HOLE : 0U) |
              (request.fast_zero ? LIBNBD_CMD_FLAG_FAST_ZERO : 0U);
      return nbd_aio_zero(handle, request.length_bytes, request.offset_bytes, completion, flags);
    case RequestKind::trim:
      return nbd_aio_trim(handle, request.length_bytes, request.offset_bytes, completion, fua);
    case RequestKind::flush:
      return nbd_aio_flush(handle, completion, 0);
    case RequestKind::cache:
      return nbd_aio_cache(handle, request.length_bytes, request.offset_bytes, completion, 0);
    case RequestKind::block_status:
      flags = request.one_extent ? LIBNBD_CMD_FLAG_REQ_ONE : 0U;
      return nbd_aio_block_status(handle, request.length_bytes, request.offset_bytes,
                                  {&Operation::on_extents, &operation, nullptr}, completion, flags);
  }
  return -1;
}

void Client::step(std::chrono::milliseconds timeout) {
  std::vector<pollfd> polls(handles_.size());
  for (std::size_t index = 0; index < handles_.size(); ++index) {
    polls[index].fd = -1;
    if (dead(handles_[index])) {
      lost_ = true;
      continue;
    }
    const unsigned direction = nbd_aio_get_direction(handles_[index]);
    polls[index].fd = nbd_aio_get_fd(handles_[index]);
    polls[index].events =
        static_cast<short>(((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                           ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0));
  }
  if (::poll(polls.data(), polls.size(), static_cast<int>(timeout.count())) < 0 && errno != EINTR) {
    throw std::runtime_error(fmt::format("poll: {}", std::strerror(errno)));
  }
  for (std::size_t index = 0; index < handles_.size(); ++index) {
    nbd_handle* handle = handles_[index];
    if (polls[index].fd < 0 || polls[index].revents == 0) {
      continue;
    }
    // Reading goes first: a server that died may have left answers, and a failed write would throw
    // them away. A failure of either shows in the state of the handle.
    const bool readable = (nbd_aio_get_direction(handle) & LIBNBD_AIO_DIRECTION_READ) != 0;
    if (readable && (polls[index].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      nbd_aio_notify_read(handle);
    } else {
      nbd_aio_notify_write(handle);
    }
    lost_ = lost_ || dead(handle);
  }
  finish_completed();
}

void Client::finish_completed() {
  for (std::size_t index = 0; index < in_flight_.size();) {
    Operation& operation = *in_flight_[index];
    if (!operation.completed) {
      ++index;
      continue;
    }
    // An error on a dead connection may be libnbd's own: the model learns of the request in bury().
    if (operation.error != 0 &&
        (operation.error == ESHUTDOWN || dead(handles_[operation.request.connection]))) {
      lost_ = true;
      ++index;
      continue;
    }
    const std::unique_ptr<Operation> finished = std::move(in_flight_[index]);
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(index));
    in_flight_bytes_ -= finished->buffer.size();
    finish(*finished);
  }
}

void Client::finish(Operation& operation) {
  const Request& request = operation.request;
  if (operation.error != 0) {
    if (request.fast_zero && operation.error == ENOTSUP) {
      model_.reject(operation.sequence);
      ++counters_.fast_zeroes_refused;
      return;
    }
    fail(operation, std::strerror(operation.error));
  }
  if (changes_something(request.kind)) {
    model_.acknowledge(operation.sequence, request.force_unit_access);
    counters_.bytes_changed += request.length_bytes;
  }
  if (request.kind == RequestKind::read) {
    if (const auto mismatch = model_.check(request.offset_bytes, operation.buffer)) {
      fail(operation, mismatch->text);
    }
    counters_.bytes_compared += request.length_bytes;
  }
  if (request.kind == RequestKind::flush) {
    model_.complete_flush(operation.flush_mark);
  }
  if (request.kind == RequestKind::block_status) {
    check_extents(operation);
  }
}

void Client::check_extents(const Operation& operation) {
  const Request& request = operation.request;
  const std::uint64_t end_bytes = request.offset_bytes + request.length_bytes;
  std::uint64_t position_bytes = request.offset_bytes;
  if (operation.extents.empty()) {
    fail(operation, "no extents");
  }
  if (request.one_extent && operation.extents.size() != 2) {
    fail(operation,
         fmt::format("{} extents where one was asked for", operation.extents.size() / 2));
  }
  for (std::size_t index = 0; index < operation.extents.size(); index += 2) {
    const std::uint32_t length_bytes = operation.extents[index];
    const std::uint32_t flags = operation.extents[index + 1];
    if (length_bytes == 0 || position_bytes >= end_bytes ||
        (flags & ~(extent_hole | extent_zero)) != 0) {
      fail(operation, fmt::format("extent at {}: length {}, flags {:#x}", position_bytes,
                                  length_bytes, flags));
    }
    const std::uint64_t extent_end_bytes = position_bytes + length_bytes;
    if (extent_end_bytes > model_.size_bytes() ||
        (request.one_extent && extent_end_bytes > end_bytes)) {
      fail(operation,
           fmt::format("extent at {} with length {} is too long", position_bytes, length_bytes));
    }
    if ((flags & extent_zero) != 0) {
      const std::uint64_t zero_bytes = std::min(extent_end_bytes, end_bytes) - position_bytes;
      if (const auto mismatch = model_.check_zeros(position_bytes, zero_bytes)) {
        fail(operation, "reported as zero: " + mismatch->text);
      }
      counters_.bytes_compared += zero_bytes;
    }
    ++counters_.extents;
    position_bytes = extent_end_bytes;
  }
}

void Client::fail(const Operation& operation, const std::string& what) const {
  const Request& request = operation.request;
  throw Failure(fmt::format(
      "{} of {} bytes at {} on connection {} (change {}{}{}{}): {}", name_of(request.kind),
      request.length_bytes, request.offset_bytes, request.connection, operation.sequence,
      request.force_unit_access ? ", FUA" : "", request.no_hole ? ", no hole" : "",
      request.fast_zero ? ", fast zero" : "", what));
}

void Client::drain() {
  const auto deadline = std::chrono::steady_clock::now() + answer_limit;
  while (!lost_ && !in_flight_.empty()) {
    step(std::chrono::milliseconds(1000));
    if (std::chrono::steady_clock::now() > deadline) {
      fail(*in_flight_.front(), fmt::format("no answer within {} s", answer_limit.count()));
    }
  }
}

bool Client::all_dead() const {
  return std::all_of(handles_.begin(), handles_.end(), dead);
}

void Client::bury() {
  const auto deadline = std::chrono::steady_clock::now() + answer_limit;
  while (!all_dead()) {
    step(std::chrono::milliseconds(100));
    if (std::chrono::steady_clock::now() > deadline) {
      throw Failure("one connection was lost while others are still served");
    }
  }
  finish_completed();
  close_all();
  in_flight_.clear();
  in_flight_bytes_ = 0;
  model_.kill_server();
  ++counters_.reconnections;
}

bool Client::verify(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t end_bytes = std::min(offset_bytes + length_bytes, model_.size_bytes());
  unsigned connection = 0;
  while (offset_bytes < end_bytes && !lost_) {
    Request request;
    request.connection = connection++ % connection_count_;
    request.offset_bytes = offset_bytes;
    request.length_bytes = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(verify_request_bytes, end_bytes - offset_bytes));
    submit(request);
    offset_bytes += request.length_bytes;
  }
  return !lost_;
}

bool Client::verify_chunks(const std::vector<std::uint64_t>& chunk_offsets) {
  for (std::size_t index = 0; index < chunk_offsets.size() && !lost_;) {
    const std::uint64_t begin_bytes = chunk_offsets[index];
    std::uint64_t end_bytes = begin_bytes;
    while (index < chunk_offsets.size() && chunk_offsets[index] == end_bytes) {
      end_bytes += SectorMap::chunk_size_bytes;
      ++index;
    }
    verify(begin_bytes, end_bytes - begin_bytes);
  }
  drain();
  return !lost_;
}

}  // namespace blocktest
