// The front matter of model cards.
#include "formats/model_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "error_line.h"
#include "result_matchers.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::FailsWith;
using ::testing::IsEmpty;
using testing::IsOk;

ModelCard ParseOk(const std::string& text) {
  const Result<ModelCard> card = ParseModelCard(text);
  EXPECT_THAT(card, IsOk());
  return card ? *card : ModelCard();
}

// Whether nothing was found.
bool IsBlank(const ModelCard& card) {
  return card.name.empty() && card.author.empty() && card.version.empty() &&
         card.organization.empty() && card.description.empty() && card.license.empty() &&
         card.license_name.empty() && card.license_link.empty() && card.base_models.empty() &&
         card.datasets.empty() && card.tags.empty() && card.languages.empty();
}

TEST(ModelCard, ReadsEveryField) {
  const ModelCard card = ParseOk(R"(---
name: Tiny
author: A. Author
version: 1.10
organization: Org
description: "says: much"
license: apache-2.0
license_name: own
license_link: https://example.org/license
base_model:
- org/base
- org/other
datasets:
- org/data
pipeline_tag: text-generation
tags: [one, two]
language:
- en
- de
library_name: ignored
---
# Tiny
name: not this one
)");
  EXPECT_EQ(card.name, "Tiny");
  EXPECT_EQ(card.author, "A. Author");
  EXPECT_EQ(card.version, "1.10") << "a version is text, not a number";
  EXPECT_EQ(card.organization, "Org");
  EXPECT_EQ(card.description, "says: much");
  EXPECT_EQ(card.license, "apache-2.0");
  EXPECT_EQ(card.license_name, "own");
  EXPECT_EQ(card.license_link, "https://example.org/license");
  EXPECT_THAT(card.base_models, ElementsAre("org/base", "org/other"));
  EXPECT_THAT(card.datasets, ElementsAre("org/data"));
  EXPECT_THAT(card.tags, ElementsAre("one", "two", "text-generation"));
  EXPECT_THAT(card.languages, ElementsAre("en", "de"));
}

TEST(ModelCard, KnowsOtherSpellings) {
  const ModelCard card = ParseOk(
      "---\nmodel_name: N\nmodel_creator: C\nmodel_version: 2\nmodel_organization: O\n"
      "model_description: D\nbase_models: b\ndataset: d\nlanguages: fr\n---\n");
  EXPECT_EQ(card.name, "N");
  EXPECT_EQ(card.author, "C");
  EXPECT_EQ(card.version, "2");
  EXPECT_EQ(card.organization, "O");
  EXPECT_EQ(card.description, "D");
  EXPECT_THAT(card.base_models, ElementsAre("b"));
  EXPECT_THAT(card.datasets, ElementsAre("d"));
  EXPECT_THAT(card.languages, ElementsAre("fr"));
}

TEST(ModelCard, PrefersTheFirstSpelling) {
  const ModelCard card = ParseOk("---\nmodel_name: second\nname: first\n---\n");
  EXPECT_EQ(card.name, "first");
}

TEST(ModelCard, TakesScalarsForListsAndJoinsOnlyLicenses) {
  const ModelCard card =
      ParseOk("---\ntags: only\nbase_model: org/base\nlicense: [a, b]\nname: {a: b}\n---\n");
  EXPECT_THAT(card.tags, ElementsAre("only"));
  EXPECT_THAT(card.base_models, ElementsAre("org/base"));
  EXPECT_EQ(card.license, "a,b");
  EXPECT_EQ(card.name, "");
}

TEST(ModelCard, TakesTabsForSpaces) {
  EXPECT_THAT(ParseOk("---\ntags:\n\t- one\n\t- two\n---\n").tags, ElementsAre("one", "two"));
}

TEST(ModelCard, SkipsListItemsThatAreNoScalars) {
  const ModelCard card = ParseOk("---\ntags:\n- a\n- {b: c}\n- [d]\n- e\nlanguage:\n---\n");
  EXPECT_THAT(card.tags, ElementsAre("a", "e"));
  EXPECT_THAT(card.languages, IsEmpty());
}

TEST(ModelCard, WithoutFrontMatterIsBlank) {
  for (const char* text : {"", "# Title\nname: x\n", "text\n---\nname: x\n---\n", "---", "---\n",
                           "---\nname: x\n", "---\n---\n", "--\nname: x\n--\n"}) {
    EXPECT_TRUE(IsBlank(ParseOk(text))) << text;
  }
}

TEST(ModelCard, ReadsWindowsFiles) {
  const ModelCard card =
      ParseOk("\xEF\xBB\xBF---\r\nname: Tiny\r\ntags:\r\n- a\r\n---\r\ntext\r\n");
  EXPECT_EQ(card.name, "Tiny");
  EXPECT_THAT(card.tags, ElementsAre("a"));
}

TEST(ModelCard, RejectsInvalidYaml) {
  EXPECT_THAT(ParseModelCard("---\nname: [a\n---\n"),
              Fails(ErrorCode::kCorrupt, "the front matter is not valid YAML: got "));
  EXPECT_THAT(ParseModelCard("---\na: b: c\n---\n"),
              Fails(ErrorCode::kCorrupt, "the front matter is not valid YAML: got "));
  EXPECT_THAT(ParseModelCard("---\nname: *unknown\n---\n"),
              Fails(ErrorCode::kCorrupt, "the front matter is not valid YAML: got "));
}

TEST(ModelCard, RejectsYamlThatIsNoMapping) {
  EXPECT_THAT(ParseModelCard("---\n- a\n- b\n---\n"),
              FailsWith(ErrorCode::kCorrupt, "the front matter is no YAML mapping"));
  EXPECT_THAT(ParseModelCard("---\njust text\n---\n"),
              FailsWith(ErrorCode::kCorrupt, "the front matter is no YAML mapping"));
  EXPECT_THAT(ParseModelCard("---\n# only a comment\n---\n"),
              FailsWith(ErrorCode::kCorrupt, "the front matter is no YAML mapping"));
}

// The parser is recursive.
TEST(ModelCard, RejectsDeepNesting) {
  constexpr std::size_t kDepth = 100'000;
  EXPECT_THAT(ParseModelCard("---\na: " + std::string(kDepth, '[') + "\n---\n"),
              Fails(ErrorCode::kCorrupt, "the front matter is not valid YAML"));
}

}  // namespace
}  // namespace sluice
