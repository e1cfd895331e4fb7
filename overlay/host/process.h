// SPDX-License-Identifier: BSD-3-Clause
//
// Processes of the host, which may end and leave their numbers to others.
#ifndef UNIONFS_OVERLAY_HOST_PROCESS_H
#define UNIONFS_OVERLAY_HOST_PROCESS_H

#include <cstdint>
#include <string>

namespace unionfs {

// When a process was started, in ticks since the host was: this and its number are never
// another process's.  0 if it is not known.  From /proc, as proc(5) describes it.
uint64_t process_start_time(int64_t process);
// The same in a line of /proc/PID/stat; 0 also if the process is exiting, or
// dead and waited for.
uint64_t start_time_in(const std::string& stat_line);

// Whether the process that was started then has ended; false where that cannot be told.
bool is_process_gone(int64_t process, uint64_t start_time);

// This process may have as many files open as the host lets it raise that to.
void raise_open_file_limit();

// What was freed goes back to the host, as far as whole pages are free; takes milliseconds for
// each 100 MiB.
void give_back_memory();

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_PROCESS_H
