// SPDX-License-Identifier: BSD-3-Clause
//
// Looking at an upper without a lock, also while a server writes to it.
//
// A server, and whoever else changes an upper, locks it.  Who only looks does not, because
// a long look would make the start of a server fail.  Instead it looks once more when the
// layer has become another one meanwhile:
//
//   1. open the file, and note its mark and the words of its header that change with a layer;
//   2. do what is to be done.  Nothing of it may be told yet, and nothing be mapped, because
//      a server cuts the file;
//   3. note the same once more, and whether the name still leads to this file.  If all of it
//      is as before, what was done is right.  Else begin again.
//
// The session's blocks are no part of this: whoever reads them sees them as they are at that
// moment.
#ifndef UNIONFS_OVERLAY_LOOK_LOOK_H
#define UNIONFS_OVERLAY_LOOK_LOOK_H

#include <functional>
#include <memory>
#include <string>

#include "overlay/host/posix_file.h"

namespace unionfs {

// Looks before giving up.
constexpr int kMaxLooks = 5;

// Where an upper is found each time anew.
struct UpperPlace {
  std::string name;  // for messages
  std::function<Result<std::unique_ptr<WritableFile>>()> open;
  // Whether the name still leads to this file, which open() gave.
  std::function<bool(const WritableFile&)> is_still_there;
};

// The file of this path.  It is never written.
UpperPlace upper_at(const std::string& path);

// What must stay as it is while something is looked at.
enum class LookNeeds {
  kSameLayer,
  kNoClient  // that writes, besides: the header's generation, which such a client raises
};

// Calls `look`, which does step 2 with an opened file and may come to any result, errors
// among them: the result counts only if the layer stayed the same one.  Fails with EAGAIN
// when it never did, because checkpoint follows checkpoint.  An upper that is damaged or
// none at all is looked at like any other, as long as it stays so.
Result<void> look_at(const UpperPlace& place,
                     const std::function<Result<void>(WritableFile&)>& look,
                     LookNeeds needs = LookNeeds::kSameLayer);

// The same of a look that gives a value.
template <typename T>
Result<T> look_for(const UpperPlace& place, const std::function<Result<T>(WritableFile&)>& look,
                   LookNeeds needs = LookNeeds::kSameLayer) {
  Result<T> seen = system_failure(EAGAIN, place.name);
  UNIONFS_TRY(look_at(
      place,
      [&](WritableFile& upper) -> Result<void> {
        seen = look(upper);
        return {};
      },
      needs));
  return seen;
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_LOOK_LOOK_H
