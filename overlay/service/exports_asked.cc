// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Exports for who is no client: what can be asked of open exports, and done with them.
#include "overlay/host/scope_exit.h"
#include "overlay/service/export_name.h"
#include "overlay/service/exports.h"

namespace unionfs {

ExportFacts Exports::facts_of_open(const Entry& entry) const {
  ExportFacts facts{
      entry.name, entry.clients,         entry.disk->has_upper(), entry.disk->overlay().facts(),
      {},         entry.traffic.counts()};
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
      facts.push_back(facts_of_open(*entry));
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
                                      const std::function<void(const ServedDisk&)>& look) const {
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
      look(*entry->disk);
      return facts_of_open(*entry);
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
  const bool has_disturbed = visit == Visit::kAsClient;
  entry->round += has_disturbed ? 1 : 0;
  if (entry->clients == 0 && !entry->is_worked_on && (has_disturbed || entry->is_unsettled)) {
    settle(entry);
  }
}

Result<void> Exports::visit(const std::string& name, Visit visit,
                            const std::function<void(ServedDisk&)>& action) {
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
  const ScopeExit end([&] { end_visit(entry, visit); });
  action(*disk);
  return {};
}

// Who is closed by somebody else is flushed by that.
Result<void> Exports::flush_entry(const std::shared_ptr<Entry>& entry, uint64_t& flushed) {
  ServedDisk* const disk = begin_visit(*entry);
  if (disk == nullptr) {
    const MutexLock lock(entry->mutex);
    return entry->last_close;
  }
  const ScopeExit end([&] { end_visit(entry, Visit::kBeside); });
  if (!disk->has_upper()) {
    return {};
  }
  Result<void> done = disk->overlay().flush();
  flushed += done ? 1 : 0;
  return done;
}

Result<uint64_t> Exports::flush_all() {
  std::vector<std::shared_ptr<Entry>> all;
  {
    const MutexLock lock(mutex_);
    for (const auto& [name, entry] : entries_) {
      all.push_back(entry);
      ++entry->users;
    }
  }
  uint64_t flushed = 0;
  Result<void> result = {};
  for (const auto& entry : all) {
    const ScopeExit unused([&] { unuse(entry); });
    Result<void> done = flush_entry(entry, flushed);
    if (!done && result) {
      result = std::move(done);
    }
  }
  UNIONFS_TRY(std::move(result));
  return flushed;
}

}  // namespace unionfs
