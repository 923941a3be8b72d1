#pragma once
#include "commands/command_line.h"
#include "engine/agreement.h"

namespace llm_tp {

// Commands that run a model: every rank calls them with the same command line; rank 0 alone reads stdin and
// writes stdout.
void generate_command(const Group& group, const CommandLine& line);
void chat_command(const Group& group, const CommandLine& line);
void score_command(const Group& group, const CommandLine& line);
void embed_command(const Group& group, const CommandLine& line);
void batch_command(const Group& group, const CommandLine& line);
void serve_command(const Group& group, const CommandLine& line);
void bench_command(const Group& group, const CommandLine& line);
void bench_kernels_command(const Group& group, const CommandLine& line);
/// Every rank says what it sees of its host; rank 0 prints the checks. Errors: kUnavailable where one is an
/// error.
void doctor_command(const Group& group, const CommandLine& line);
// Commands of rank 0 alone.
void tokenize_command(const CommandLine& line);
void inspect_command(const CommandLine& line);
void loadtest_command(const CommandLine& line);
void config_command(const CommandLine& line);
void version_command(const CommandLine& line);

/// Runs the command. Errors: AgreedError where all ranks know; else this rank's own.
void run_command(const Group& group, const CommandLine& line);

}  // namespace llm_tp
