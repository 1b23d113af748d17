// What the commands share that run a model over a long text: flags, model and text.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/generation_flags.h"
#include "core/result.h"
#include "runtime/model/glm.h"
#include "runtime/text/windows.h"

namespace sluice::cli {

struct WindowFlags {
  ModelFlags model;
  std::string text;
  std::uint32_t context = 512;
  std::uint32_t chunks = 0;  // 0: all
};
void AddWindowFlags(CLI::App& command, WindowFlags& flags);

struct WindowedText {
  std::unique_ptr<runtime::Glm> model;
  runtime::Windows windows;
};
// Loads the model, with attention in this form, and cuts the text. Prints warnings unless `quiet`.
// Errors as of LoadModel, OpenTokenizer and Windows::Cut, with the path.
Result<WindowedText> OpenWindows(const WindowFlags& flags, runtime::AttentionForm form, bool quiet);

}  // namespace sluice::cli
