// Reaches the functions inside a family's tables the way the planner does.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/registry.h"

namespace sluice::arch::testing {

// The derived value of a hyperparameter; monostate and a test failure when the family has no rule.
inline HpValue Derived(const Family& family, Hp id, const HParams& hparams) {
  for (const DerivedRule& rule : family.derived) {
    if (rule.id == id) return rule.compute(hparams);
  }
  ADD_FAILURE() << family.name << " derives no such hyperparameter";
  return {};
}

// The value of a key that a function computes.
inline HpValue KeyValue(const FileSpec& file, std::string_view key, const HParams& hparams) {
  for (const KvRule& rule : file.key_values) {
    const auto* const derive = std::get_if<Derive>(&rule.from);
    if (rule.key == key && derive != nullptr) return (*derive)(hparams);
  }
  ADD_FAILURE() << "no computed key " << key;
  return {};
}

// Everything that the checks find, as "<kind>: <text>".
inline std::vector<std::string> Findings(std::span<const Inspect> inspects,
                                         const HParams& hparams) {
  std::vector<std::string> texts;
  for (const Inspect inspect : inspects) {
    if (const std::optional<Finding> finding = inspect(hparams)) {
      const char* const kinds[] = {"warning: ", "unsupported: ", "invalid: ", "not written: "};
      texts.push_back(kinds[static_cast<std::size_t>(finding->kind)] + finding->text);
    }
  }
  return texts;
}

inline HParams With(HParams hparams, Hp id, HpValue value) {
  hparams.Set(id, std::move(value), true);
  return hparams;
}

}  // namespace sluice::arch::testing
