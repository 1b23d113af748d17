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
using ::testing::Field;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Optional;
using ::testing::Pair;

ModelCard ParseOk(const std::string& text) {
  const Result<ModelCard> card = ParseModelCard(text);
  EXPECT_THAT(card, IsOk());
  return card ? *card : ModelCard();
}

// Whether nothing was found.
bool IsBlank(const ModelCard& card) {
  return card.name.empty() && card.author.empty() && card.version.empty() &&
         card.organization.empty() && card.finetune.empty() && card.basename.empty() &&
         card.description.empty() && card.size_label.empty() && card.license.empty() &&
         card.license_name.empty() && card.license_link.empty() && card.url.empty() &&
         card.doi.empty() && card.uuid.empty() && card.repo_url.empty() && !card.base_models &&
         !card.datasets && card.tags.empty() && card.languages.empty();
}

auto IsId(const char* id) { return Field("id", &CardReference::id, id); }

TEST(ModelCard, ReadsEveryField) {
  const ModelCard card = ParseOk(R"(---
name: Tiny
author: A. Author
version: 1.10
organization: Org
finetune: Chat
basename: Base
size_label: 7B
description: "says: much"
url: https://example.org/model
doi: 10.1/2
uuid: 1-2
repo_url: https://example.org/repo
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
  EXPECT_EQ(card.finetune, "Chat");
  EXPECT_EQ(card.basename, "Base");
  EXPECT_EQ(card.size_label, "7B");
  EXPECT_EQ(card.description, "says: much");
  EXPECT_EQ(card.license, "apache-2.0");
  EXPECT_EQ(card.license_name, "own");
  EXPECT_EQ(card.license_link, "https://example.org/license");
  EXPECT_EQ(card.url, "https://example.org/model");
  EXPECT_EQ(card.doi, "10.1/2");
  EXPECT_EQ(card.uuid, "1-2");
  EXPECT_EQ(card.repo_url, "https://example.org/repo");
  EXPECT_THAT(card.base_models, Optional(ElementsAre(IsId("org/base"), IsId("org/other"))));
  EXPECT_THAT(card.datasets, Optional(ElementsAre(IsId("org/data"))));
  EXPECT_THAT(card.tags, ElementsAre("one", "two", "text-generation"));
  EXPECT_THAT(card.languages, ElementsAre("en", "de"));
}

TEST(ModelCard, KnowsOtherSpellings) {
  const ModelCard card = ParseOk(
      "---\nmodel_name: N\nmodel_creator: C\nmodel_version: 2\nmodel_organization: O\n"
      "model_description: D\nmodel_finetune: F\nmodel_type: B\nmodel_size_label: S\n"
      "model_url: U\nmodel_doi: 10\nmodel_uuid: I\nmodel_repo_url: R\n"
      "base_models: b\ndataset: d\nlanguages: fr\n---\n");
  EXPECT_EQ(card.name, "N");
  EXPECT_EQ(card.author, "C");
  EXPECT_EQ(card.version, "2");
  EXPECT_EQ(card.organization, "O");
  EXPECT_EQ(card.description, "D");
  EXPECT_EQ(card.finetune, "F");
  EXPECT_EQ(card.basename, "B");
  EXPECT_EQ(card.size_label, "S");
  EXPECT_EQ(card.url, "U");
  EXPECT_EQ(card.doi, "10");
  EXPECT_EQ(card.uuid, "I");
  EXPECT_EQ(card.repo_url, "R");
  EXPECT_THAT(card.base_models, Optional(ElementsAre(IsId("b"))));
  EXPECT_THAT(card.datasets, Optional(ElementsAre(IsId("d"))));
  EXPECT_THAT(card.languages, ElementsAre("fr"));
}

TEST(ModelCard, ReadsReferencesThatAreDescribedByFields) {
  const ModelCard card = ParseOk(
      "---\nbase_model_sources:\n- name: Base\n  version: 1.0\n  tags: [a]\n- org/other\n- [c]\n"
      "dataset_sources:\n---\n");
  ASSERT_THAT(card.base_models, Optional(ElementsAre(IsId(""), IsId("org/other"))));
  EXPECT_THAT(card.base_models->front().fields,
              ElementsAre(Pair("name", "Base"), Pair("version", "1.0")));
  EXPECT_THAT(card.datasets, Optional(IsEmpty())) << "present, but none";
}

// Not both: they would be two names of the same thing.
TEST(ModelCard, TakesReferencesFromOneKey) {
  const ModelCard card = ParseOk("---\nbase_models: a\nbase_model: b\n---\n");
  EXPECT_THAT(card.base_models, Optional(ElementsAre(IsId("b"))));
}

TEST(ModelCard, PrefersTheFirstSpelling) {
  const ModelCard card = ParseOk("---\nmodel_name: second\nname: first\n---\n");
  EXPECT_EQ(card.name, "first");
}

TEST(ModelCard, TakesScalarsForListsAndJoinsOnlyLicenses) {
  const ModelCard card =
      ParseOk("---\ntags: only\nbase_model: org/base\nlicense: [a, b]\nname: {a: b}\n---\n");
  EXPECT_THAT(card.tags, ElementsAre("only"));
  EXPECT_THAT(card.base_models, Optional(ElementsAre(IsId("org/base"))));
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

TEST(ModelCard, RejectsTextThatIsNotUtf8) {
  EXPECT_THAT(ParseModelCard("---\nauthor: Andr\xE9\n---\n"),
              FailsWith(ErrorCode::kCorrupt, "the front matter is not UTF-8"));
  EXPECT_EQ(ParseOk("---\nauthor: A\n---\nAndr\xE9\n").author, "A") << "the text is not read";
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
