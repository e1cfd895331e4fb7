// SPDX-License-Identifier: BSD-3-Clause
//
// Random requests to an NBD export over several connections, every answer compared with a model.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "client.h"
#include "model.h"
#include "traffic.h"
#include "whole-export.h"

namespace {

using blocktest::Client;
using blocktest::DiskModel;
using blocktest::Failure;
using blocktest::Request;
using blocktest::RequestKind;

constexpr std::chrono::seconds first_patience{10};

struct Options {
  std::string uri;
  std::uint64_t seed = 0;
  std::uint64_t operation_count = 2000;
  unsigned connection_count = 4;
  std::string initial_path;
  std::string state_path;
  bool resume = false;
  bool verify_only = false;
  bool everything = false;
  unsigned reconnect_seconds = 0;
  unsigned until_reconnections = 0;
  std::vector<std::uint64_t> hot_offsets_bytes;
};

// A file that goes away with the object, unless its path was given by the user.
class InitialFile {
 public:
  explicit InitialFile(const Options& options) {
    if (!options.initial_path.empty()) {
      path_ = options.initial_path;
      return;
    }
    if (!options.state_path.empty()) {
      path_ = options.state_path + ".initial";
    } else {
      const char* directory = std::getenv("TMPDIR");
      path_ =
          fmt::format("{}/block-random-io.XXXXXX", directory != nullptr ? directory : "/var/tmp");
      const int descriptor = ::mkstemp(path_.data());
      if (descriptor < 0) {
        throw std::runtime_error("cannot make a temporary file " + path_);
      }
      ::close(descriptor);
      remove_ = true;
    }
    blocktest::snapshot_export(options.uri, path_);
  }
  ~InitialFile() {
    if (remove_) {
      ::unlink(path_.c_str());
    }
  }
  InitialFile(const InitialFile&) = delete;
  InitialFile& operator=(const InitialFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool remove_ = false;
};

// What a script that kills servers waits for: each server is to die under this client.
void say_connected(const Client& client) {
  fmt::print("connected, {} reconnections\n", client.counters().reconnections);
  std::fflush(stdout);
}

void carry_on_or_fail(Client& client, const Options& options) {
  if (!client.lost()) {
    return;
  }
  if (options.reconnect_seconds == 0) {
    throw Failure("the connection was lost");
  }
  client.bury();
  if (!client.connect(std::chrono::seconds(options.reconnect_seconds))) {
    throw Failure(fmt::format("no server within {} s", options.reconnect_seconds));
  }
  say_connected(client);
}

blocktest::TrafficWeights weights_for(const blocktest::Abilities& abilities) {
  blocktest::TrafficWeights weights;
  if (abilities.read_only) {
    weights.write = weights.write_of_zeros = weights.zero = weights.trim = 0;
  }
  return weights;
}

// The image must not look cleanly unmounted while a client is at work; see content.h.
void mark_in_use(Client& client, const Options& options) {
  if (client.abilities().read_only || client.abilities().size_bytes < 2048) {
    return;
  }
  Request request;
  request.kind = RequestKind::write;
  request.offset_bytes = blocktest::superblock_state_offset_bytes;
  request.length_bytes = blocktest::superblock_state_size_bytes;
  do {
    carry_on_or_fail(client, options);
    client.submit(request);
    client.drain();
  } while (client.lost());
}

void run_traffic(Client& client, const Options& options) {
  blocktest::Traffic traffic(options.seed, client.abilities(), options.connection_count,
                             weights_for(client.abilities()), options.hot_offsets_bytes);
  mark_in_use(client, options);
  for (std::uint64_t count = 0; count < options.operation_count ||
                                client.counters().reconnections < options.until_reconnections;
       ++count) {
    client.submit(traffic.next());
    carry_on_or_fail(client, options);
  }
  client.drain();
}

void verify(Client& client, DiskModel& model, const Options& options) {
  do {
    carry_on_or_fail(client, options);
  } while (!client.verify_chunks(model.changed_chunks()));
  client.disconnect();
  if (options.everything || options.verify_only) {
    const std::uint64_t read_bytes = blocktest::verify_export(options.uri, model);
    fmt::print("whole export: {} of {} bytes read, the rest reported as zero\n", read_bytes,
               model.size_bytes());
  }
}

void run_with(DiskModel& model, const Options& options) {
  Client client(options.uri, options.connection_count, model);
  if (!client.connect(first_patience)) {
    throw Failure(fmt::format("cannot connect to {}", options.uri));
  }
  say_connected(client);
  if (options.connection_count > 1 && !client.abilities().multi_connection) {
    fmt::print("note: the server does not advertise that several connections see one disk\n");
  }
  if (!options.verify_only) {
    run_traffic(client, options);
  }
  verify(client, model, options);
  if (!options.state_path.empty()) {
    model.save(options.state_path);
  }
  const blocktest::Counters& counters = client.counters();
  fmt::print(
      "{} requests, {} changes acknowledged ({} bytes), {} bytes compared, {} extents, {} fast "
      "zeroes refused, {} reconnections\n",
      counters.requests, model.acknowledged_count(), counters.bytes_changed,
      counters.bytes_compared, counters.extents, counters.fast_zeroes_refused,
      counters.reconnections);
}

void run(const Options& options) {
  if (options.resume || options.verify_only) {
    DiskModel model = DiskModel::load(options.state_path);
    run_with(model, options);
    return;
  }
  const InitialFile initial(options);
  DiskModel model(blocktest::export_size_bytes(options.uri), options.seed, initial.path());
  run_with(model, options);
}

int run_program(int argument_count, char** arguments) {
  Options options;
  options.seed = std::random_device{}();
  CLI::App app("Random I/O against an NBD export, compared with a model");
  app.add_option("--uri", options.uri, "NBD URI of the export")->required();
  app.add_option("--seed", options.seed,
                 "what all random choices follow from; random by default, and printed");
  app.add_option("--operations", options.operation_count,
                 "number of requests before the final comparison");
  app.add_option("--connections", options.connection_count, "number of connections")
      ->check(CLI::Range(1, 64));
  app.add_option("--initial", options.initial_path,
                 "file that holds what the export holds at first; default: read the export");
  auto* state = app.add_option("--state", options.state_path,
                               "file to keep the model in between runs (and FILE.initial)");
  auto* resume = app.add_flag("--resume", options.resume,
                              "start from the state file instead of from the export")
                     ->needs(state);
  app.add_flag("--verify-only", options.verify_only, "only compare the export with the state file")
      ->needs(state)
      ->excludes(resume);
  app.add_flag("--everything", options.everything, "compare also what was never touched");
  app.add_option("--reconnect", options.reconnect_seconds,
                 "when the server dies, wait this many seconds for the next one and carry on");
  app.add_option("--until-reconnections", options.until_reconnections,
                 "go on until the server died this many times")
      ->needs("--reconnect");
  app.add_option("--hot", options.hot_offsets_bytes,
                 "byte offset to work around often; may be repeated")
      ->allow_extra_args(false);
  CLI11_PARSE(app, argument_count, arguments);

  fmt::print("block-random-io: seed {}, {} operations, {} connections\n", options.seed,
             options.operation_count, options.connection_count);
  std::fflush(stdout);
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "block-random-io: seed {}: {}\n", options.seed, error.what());
    return EXIT_FAILURE;
  }
  fmt::print("block-random-io: ok\n");
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argument_count, char** arguments) {
  try {
    return run_program(argument_count, arguments);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return EXIT_FAILURE;
  }
}
