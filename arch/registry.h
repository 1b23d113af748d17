// The only list of families.
#pragma once

#include <span>
#include <string_view>

#include "arch/spec.h"

namespace sluice::arch {

// Defined in arch/<family>.cpp.
extern const Family kLlama;
extern const Family kGlm4MoeLite;
extern const Family kLlama4;
extern const Family kLlama4Text;
extern const Family kMllama;
extern const Family kLfm2;
extern const Family kLfm2Moe;

[[nodiscard]] std::span<const Family* const> Families();

// The family that some dialect converts under this `architectures[0]`; nullptr when there is none.
[[nodiscard]] const Family* FindFamily(std::string_view hf_architecture);

// The files of `family` for a checkpoint of this architecture in a dialect; nullptr when the
// dialect does not know it.
[[nodiscard]] const FileSpec* FindFile(const Family& family, std::string_view hf_architecture,
                                       Dialect dialect, Role role);

// The model file that carries this `general.architecture`: that of `dialect` where both write it;
// nullptr when no family does.
[[nodiscard]] const FileSpec* FindModelFile(std::string_view gguf_arch, Dialect dialect);

// llama.cpp where it can load the family, else ollama.
[[nodiscard]] Dialect DefaultDialect(const Family& family, std::string_view hf_architecture);

// An architecture that is known by name and refused, and why; empty for others.
[[nodiscard]] std::string_view WhyRefused(std::string_view hf_architecture);

}  // namespace sluice::arch
