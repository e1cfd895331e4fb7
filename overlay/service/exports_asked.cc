// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Exports for who is no client: what can be asked of open exports, and done with them.
#include "fsparse/printable.h"
#include "overlay/host/scope_exit.h"
#include "overlay/service/export_name.h"
#include "overlay/service/exports.h"

namespace unionfs {
namespace {

Error told_of_loss(const std::string& name, Error error) {
  error.message +=
      fmt::format("; the export {} was closed so, and what was not flushed before may be lost",
                  quoted_name(name));
  return error;
}

}  // namespace

ExportFacts Exports::facts_of_open(const Entry& entry, const ServedDisk::Shown& shown) {
  const DiskTraffic& traffic = std::as_const(*entry.disk).traffic();
  ExportFacts facts{entry.name, entry.clients,   shown.has_upper, shown.overlay.facts(),
                    {},         traffic.counts()};
  if (!facts.has_upper) {  // these would be of the one in memory
    facts.overlay.session.reset();
    facts.overlay.upper.reset();
  } else if (entry.disk->checkpointer() != nullptr) {
    facts.checkpoints = entry.disk->checkpointer()->counts();
  }
  return facts;
}

std::vector<ExportFacts> Exports::facts() const {
  std::vector<ExportFacts> facts;
  for (const auto& entry : entries()) {
    const MutexLock lock(entry->mutex);
    if (entry->state == Entry::State::kOpen) {
      facts.push_back(facts_of_open(*entry, entry->disk->shown()));
    }
  }
  return facts;
}

std::shared_ptr<Exports::Entry> Exports::use_known(const std::string& name) {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return nullptr;
  }
  ++found->second->users;
  return found->second;
}

Error Exports::not_open(const std::string& name) const {
  const std::string path = path_of(name);
  const Result<bool> is_made = is_there(path);
  if (is_made && !*is_made) {
    return Error{ErrorKind::kSystem, ENOENT,
                 fmt::format("there is no export {}", quoted_name(name))};
  }
  return is_made
             ? Error{ErrorKind::kSystem, EBUSY,
                     fmt::format("the export {} is not open: no client has come, or the last one "
                                 "has gone long ago",
                                 quoted_name(name))}
             : is_made.error();
}

Result<ExportFacts> Exports::facts_of(const std::string& name,
                                      const std::function<void(const Overlay&)>& look) const {
  UNIONFS_TRY(check_export_name(name));
  std::shared_ptr<Entry> entry;
  {
    const MutexLock table(mutex_);
    const auto found = entries_.find(name);
    entry = found != entries_.end() ? found->second : nullptr;
  }
  if (entry != nullptr) {
    const MutexLock lock(entry->mutex);
    if (entry->state == Entry::State::kOpen) {
      const ServedDisk::Shown shown = entry->disk->shown();
      look(shown.overlay);
      return facts_of_open(*entry, shown);
    }
  }
  return Failure(not_open(name));
}

// ---- visitors --------------------------------------------------------------------

ServedDisk* Exports::begin_visit(Entry& entry) const {
  const MutexLock lock(entry.mutex);
  while (entry.state == Entry::State::kClosing) {
    entry.changed.wait(entry.mutex);
  }
  if (entry.state != Entry::State::kOpen) {
    return nullptr;
  }
  ++entry.visitors;
  return entry.disk.get();
}

void Exports::end_visit(const std::shared_ptr<Entry>& entry, Visit visit) {
  const MutexLock lock(entry->mutex);
  --entry->visitors;
  // What was planned for the session may have met the visitor, and given up.
  const bool has_disturbed =
      visit == Visit::kAsClient || (visit == Visit::kStopsCheckpoint && entry->is_worked_on);
  entry->round += has_disturbed ? 1 : 0;
  if (entry->clients > 0 || entry->is_worked_on) {
    return;
  }
  if (has_disturbed || entry->is_unsettled || entry->disk->overlay().facts().has_failed) {
    settle(entry);
  }
}

Result<void> Exports::visit(const std::string& name, Visit visit,
                            const std::function<void(ServedDisk&)>& action) {
  return this->visit(name, [&](ServedDisk& disk) {
    action(disk);
    return visit;
  });
}

Result<void> Exports::visit(const std::string& name,
                            const std::function<Visit(ServedDisk&)>& action) {
  UNIONFS_TRY(check_export_name(name));
  const std::shared_ptr<Entry> entry = use_known(name);
  if (entry == nullptr) {
    return Failure(not_open(name));
  }
  const ScopeExit unused([&] { unuse(entry); });
  ServedDisk* const disk = begin_visit(*entry);
  if (disk == nullptr) {
    return Failure(not_open(name));
  }
  Visit visit = Visit::kAsClient;  // if the action throws
  const ScopeExit end([&] { end_visit(entry, visit); });
  visit = action(*disk);
  return {};
}

// ---- flushing --------------------------------------------------------------------

// Who is closed by somebody else is flushed by that, and what that could not is a loss.
Result<void> Exports::flush_entry(const std::shared_ptr<Entry>& entry, uint64_t& flushed) {
  ServedDisk* const disk = begin_visit(*entry);
  if (disk == nullptr) {
    return {};
  }
  const ScopeExit end([&] { end_visit(entry, Visit::kBeside); });
  if (!disk->has_upper()) {
    return {};
  }
  Result<void> done = disk->overlay().flush();
  flushed += done ? 1 : 0;
  return done;
}

FlushedExports Exports::flush_all() {
  FlushedExports flushed;
  const auto note = [&flushed](Result<void> done) {
    if (!done && flushed.result) {
      flushed.result = std::move(done);
    }
  };
  for (const auto& listed : entries()) {
    const std::shared_ptr<Entry> entry = use_known(listed->name);
    if (entry != nullptr) {
      const ScopeExit unused([&] { unuse(entry); });
      note(flush_entry(entry, flushed.count));
    }
  }
  Result<void> lost = take_losses();
  if (!lost && !flushed.result) {
    flushed.result.error().message += "; " + lost.error().message;
  }
  note(std::move(lost));
  return flushed;
}

void Exports::note_loss(const std::string& name, Error error) {
  const MutexLock lock(mutex_);
  ++lost_count_;
  if (losses_.size() < kMostLosses || losses_.contains(name)) {
    losses_.insert_or_assign(name, std::move(error));
  } else {
    ++nameless_losses_;
  }
}

// What all of them are is told at once: the error of the first, and who else.
Result<void> Exports::take_losses() {
  std::map<std::string, Error> losses;
  uint64_t nameless = 0;
  {
    const MutexLock lock(mutex_);
    losses.swap(losses_);
    std::swap(nameless, nameless_losses_);
  }
  if (losses.empty()) {
    return {};
  }
  constexpr size_t kMostNamed = 8;
  Error error = told_of_loss(losses.begin()->first, std::move(losses.begin()->second));
  const uint64_t others = losses.size() - 1 + nameless;
  if (others > 0) {
    error.message += fmt::format("; so of {} more", others);
  }
  size_t named = 0;
  for (auto other = std::next(losses.begin()); other != losses.end() && named < kMostNamed;
       ++other, ++named) {
    error.message += fmt::format("{} {}", named == 0 ? ":" : ",", quoted_name(other->first));
  }
  return Failure(std::move(error));
}

Result<void> Exports::take_loss(const std::string& name) {
  const MutexLock lock(mutex_);
  const auto found = losses_.find(name);
  if (found == losses_.end()) {
    return {};
  }
  Error error = told_of_loss(name, std::move(found->second));
  losses_.erase(found);
  return Failure(std::move(error));
}

uint64_t Exports::lost_count() const {
  const MutexLock lock(mutex_);
  return lost_count_;
}

}  // namespace unionfs
