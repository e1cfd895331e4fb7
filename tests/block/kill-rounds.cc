// SPDX-License-Identifier: BSD-3-Clause
//
// Kills a server with SIGKILL again and again while clients write, starts it again, and compares
// the disk with a model: what was acknowledged must be there, and what was in flight must have
// happened or not, sector by sector.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client.h"
#include "model.h"
#include "server.h"
#include "traffic.h"
#include "whole-export.h"

namespace {

using blocktest::Client;
using blocktest::DiskModel;
using blocktest::Failure;
using blocktest::Request;
using blocktest::RequestKind;
using blocktest::SectorMap;
using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds start_patience{60};
constexpr std::chrono::seconds stop_patience{60};
constexpr unsigned untouched_chunks_per_round = 32;

// When the server dies.
enum class Moment : std::uint8_t {
  starting,       // before or just after it listens, no client yet
  first_request,  // milliseconds after the first connection
  traffic,
  big_writes,
  flushes,
  quiet,    // everything acknowledged, nothing flushed since
  stopped,  // not killed: SIGTERM without clients
};

constexpr std::array<const char*, 7> moment_names = {
    "starting", "first request", "traffic", "big writes", "flushes", "quiet", "stopped"};

const char* name_of(Moment moment) {
  return moment_names[static_cast<std::size_t>(moment)];
}

struct Options {
  std::string socket_path;
  std::uint64_t seed = 0;
  unsigned round_count = 25;
  unsigned connection_count = 4;
  std::vector<std::uint64_t> hot_offsets_bytes;
  std::vector<std::string> command;
};

blocktest::TrafficWeights write_mostly() {
  blocktest::TrafficWeights weights;
  weights.read = 8;
  weights.write = 60;
  weights.cache = 1;
  weights.block_status = 3;
  return weights;
}

class KillRounds {
 public:
  explicit KillRounds(const Options& options);

  void run();
  std::string where() const { return fmt::format("round {} ({})", round_, name_of(moment_)); }
  std::string server_log() const { return server_.log_tail(); }

 private:
  void first_start();
  void connect();
  void run_round();
  void verify_recent();
  void verify_all();
  Moment pick_moment();
  void traffic_for(microseconds duration);
  void kill_after(microseconds delay, Moment moment);
  void buried();
  void report() const;

  const Options& options_;
  std::string uri_;
  blocktest::Random random_;
  blocktest::Server server_;
  std::unique_ptr<DiskModel> model_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<blocktest::Traffic> traffic_;
  microseconds start_time_{0};  // how long the server took until it answered
  unsigned round_ = 0;
  Moment moment_ = Moment::starting;
  std::array<unsigned, moment_names.size()> ends_{};  // by moment
  std::uint64_t verified_count_ = 0;
  std::uint64_t verified_unknown_count_ = 0;
};

KillRounds::KillRounds(const Options& options)
    : options_(options),
      uri_("nbd+unix:///?socket=" + options.socket_path),
      random_(blocktest::mix(options.seed)),
      server_(options.command, options.socket_path, options.socket_path + ".log") {}

void KillRounds::first_start() {
  const auto begin = steady_clock::now();
  server_.start();
  const auto deadline = begin + start_patience;
  std::uint64_t size_bytes = 0;
  while (size_bytes == 0) {
    server_.require_alive();
    try {
      size_bytes = blocktest::export_size_bytes(uri_);
    } catch (const Failure&) {
      if (steady_clock::now() > deadline) {
        throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  start_time_ = std::chrono::duration_cast<microseconds>(steady_clock::now() - begin);

  const std::string initial_path = options_.socket_path + ".initial";
  blocktest::snapshot_export(uri_, initial_path);
  model_ = std::make_unique<DiskModel>(size_bytes, options_.seed, initial_path);
  ::unlink(initial_path.c_str());  // the model keeps it open
  client_ = std::make_unique<Client>(uri_, options_.connection_count, *model_);
  connect();
  if (client_->abilities().read_only) {
    throw Failure("the export is read-only");
  }
  traffic_ = std::make_unique<blocktest::Traffic>(options_.seed, client_->abilities(),
                                                  options_.connection_count, write_mostly(),
                                                  options_.hot_offsets_bytes);
  // The image must not look cleanly unmounted while clients are at work; see content.h.
  Request request;
  request.kind = RequestKind::write;
  request.offset_bytes = blocktest::superblock_state_offset_bytes;
  request.length_bytes = blocktest::superblock_state_size_bytes;
  client_->submit(request);
  client_->disconnect();
}

void KillRounds::connect() {
  const auto deadline = steady_clock::now() + start_patience;
  while (!client_->connect(std::chrono::milliseconds(100))) {
    server_.require_alive();
    if (steady_clock::now() > deadline) {
      throw Failure(fmt::format("the server does not answer within {} s of its start",
                                start_patience.count()));
    }
  }
}

// What was written in the last rounds, and some chunks nobody wrote: those must not change from one
// server to the next either.
void KillRounds::verify_recent() {
  std::vector<std::uint64_t> chunks = model_->take_recent_chunks();
  const std::uint64_t chunk_count =
      (model_->size_bytes() + SectorMap::chunk_size_bytes - 1) / SectorMap::chunk_size_bytes;
  for (unsigned count = 0; count < untouched_chunks_per_round; ++count) {
    chunks.push_back(random_.below(chunk_count) * SectorMap::chunk_size_bytes);
  }
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  if (!client_->verify_chunks(chunks)) {
    server_.require_alive();
    throw Failure("the server closed the connection while the disk was read");
  }
  verified_count_ = model_->acknowledged_count();
  verified_unknown_count_ = model_->unknown_count();
}

void KillRounds::verify_all() {
  moment_ = Moment::starting;
  server_.start();
  connect();
  verify_recent();
  if (!client_->verify_chunks(model_->changed_chunks())) {
    throw Failure("the server closed the connection while the disk was read");
  }
  client_->disconnect();
  blocktest::verify_export(uri_, *model_);
  server_.stop(stop_patience);
}

Moment KillRounds::pick_moment() {
  static constexpr Moment moments[] = {
      Moment::starting, Moment::starting, Moment::first_request, Moment::first_request,
      Moment::traffic,  Moment::traffic,  Moment::traffic,       Moment::big_writes,
      Moment::flushes,  Moment::flushes,  Moment::big_writes,    Moment::quiet,
      Moment::stopped};
  constexpr std::size_t count = sizeof moments / sizeof moments[0];
  // The first rounds go through all of them, so that even a short run has each.
  return moments[round_ <= count ? std::size_t{round_ - 1} * 5 % count : random_.below(count)];
}

void KillRounds::traffic_for(microseconds duration) {
  const auto end = steady_clock::now() + duration;
  while (steady_clock::now() < end && !client_->lost()) {
    client_->submit(traffic_->next());
  }
}

// Goes on sending until the server is gone; the kill comes from another thread, so it strikes
// whatever is going on.
void KillRounds::kill_after(microseconds delay, Moment moment) {
  const std::jthread killer([this, delay] {
    std::this_thread::sleep_for(delay);
    server_.send_kill();
  });
  unsigned count = 0;
  while (!client_->lost()) {
    const unsigned connection = count++ % options_.connection_count;
    if (moment == Moment::big_writes) {
      const auto length_bytes =
          random_.between(1U << 20, blocktest::Traffic::longest_request_bytes);
      client_->submit(traffic_->big_write(connection, static_cast<std::uint32_t>(length_bytes)));
      continue;
    }
    client_->submit(traffic_->next());
    if (moment == Moment::flushes && count % 3 == 0) {
      Request flush;
      flush.kind = RequestKind::flush;
      flush.connection = connection;
      client_->submit(flush);
    }
  }
}

void KillRounds::buried() {
  client_->bury();
  server_.reap_killed();
}

void KillRounds::run_round() {
  moment_ = pick_moment();
  server_.start();
  if (moment_ == Moment::starting) {
    std::this_thread::sleep_for(
        microseconds(random_.below(static_cast<std::uint64_t>(start_time_.count()) * 3 / 2)));
    server_.send_kill();
    server_.reap_killed();
    return;
  }
  connect();
  if (moment_ == Moment::first_request) {
    kill_after(microseconds(random_.below(8000)), moment_);
    buried();
    return;
  }
  verify_recent();
  traffic_for(microseconds(random_.below(150000)));
  switch (moment_) {
    case Moment::quiet:
      client_->drain();
      server_.send_kill();
      buried();
      return;
    case Moment::stopped:
      client_->disconnect();
      server_.stop(stop_patience);
      return;
    case Moment::big_writes:
      kill_after(microseconds(random_.below(20000)), moment_);
      break;
    case Moment::flushes:
      kill_after(microseconds(random_.below(40000)), moment_);
      break;
    default:
      kill_after(microseconds(random_.below(100000)), moment_);
      break;
  }
  buried();
}

void KillRounds::run() {
  first_start();
  server_.stop(stop_patience);
  for (round_ = 1; round_ <= options_.round_count; ++round_) {
    run_round();
    ++ends_[static_cast<std::size_t>(moment_)];
  }
  // Twice: the first pass may change what a clean stop leaves.
  verify_all();
  verify_all();
  report();
}

void KillRounds::report() const {
  unsigned kill_count = 0;
  for (std::size_t index = 0; index < ends_.size(); ++index) {
    fmt::print("  {:3} {}\n", ends_[index], moment_names[index]);
    kill_count += index == static_cast<std::size_t>(Moment::stopped) ? 0 : ends_[index];
  }
  fmt::print(
      "{} kills survived, {} acknowledged changes verified, {} in flight at a kill found old or "
      "new, {} bytes compared\n",
      kill_count, verified_count_, verified_unknown_count_, client_->counters().bytes_compared);
  if (verified_count_ == 0 || kill_count == 0) {
    throw Failure("nothing was tested");
  }
}

int run_program(int argument_count, char** arguments) {
  Options options;
  options.seed = std::random_device{}();
  CLI::App app("Kills a server at random moments and verifies what it leaves");
  app.add_option("--socket", options.socket_path, "unix socket the command listens on")->required();
  app.add_option("--seed", options.seed,
                 "what all random choices follow from; random by default, and printed");
  app.add_option("--rounds", options.round_count, "number of starts");
  app.add_option("--connections", options.connection_count, "number of connections")
      ->check(CLI::Range(1, 64));
  app.add_option("--hot", options.hot_offsets_bytes,
                 "byte offset to work around often; may be repeated")
      ->allow_extra_args(false);
  app.add_option("command", options.command,
                 "after --: the server's command line; it must stay in the foreground")
      ->required();
  CLI11_PARSE(app, argument_count, arguments);

  std::signal(SIGPIPE, SIG_IGN);
  fmt::print("block-kill-rounds: seed {}, {} rounds, {} connections\n", options.seed,
             options.round_count, options.connection_count);
  std::fflush(stdout);
  KillRounds rounds(options);
  try {
    rounds.run();
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "block-kill-rounds: seed {}, {}: {}\nthe end of the server's log:\n{}\n",
               options.seed, rounds.where(), error.what(), rounds.server_log());
    return EXIT_FAILURE;
  }
  fmt::print("block-kill-rounds: ok\n");
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
