// tokenizer.model files, encoded by hand as the protocol buffers they are.
#include "formats/tokenizer/sentencepiece.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "result_matchers.h"
#include "test_files.h"

namespace sluice::tokenizer {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::TempFolder;

std::string Varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
// A field's number and wire type share the tag: 0 varint, 2 length and bytes, 5 four bytes.
std::string IntField(std::uint32_t field, std::uint64_t value) {
  return Varint(field << 3 | 0) + Varint(value);
}
std::string BytesField(std::uint32_t field, std::string_view bytes) {
  return Varint(field << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}
std::string FloatField(std::uint32_t field, float value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return Varint(field << 3 | 5) + bytes;
}

// SentencePiece.Type of sentencepiece_model.proto.
enum PieceType : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

std::string PieceOf(std::string_view text, float score, PieceType type) {
  return BytesField(1, BytesField(1, text) + FloatField(2, score) + IntField(3, type));
}

// ModelProto: pieces (1), trainer_spec (2) with model_type (3, BPE) and byte_fallback (35),
// normalizer_spec (3) with its name (1).
std::string ModelOf(const std::string& pieces, bool byte_fallback = false) {
  return pieces + BytesField(2, IntField(3, 2) + IntField(35, byte_fallback ? 1 : 0)) +
         BytesField(3, BytesField(1, "identity"));
}

std::string SmallModel() {
  return ModelOf(PieceOf("<unk>", 0, kUnknown) + PieceOf("<s>", 0, kControl) +
                 PieceOf("</s>", 0, kControl) + PieceOf("\u2581a", -1.5F, kNormal) +
                 PieceOf("<mine>", -2, kUserDefined) + PieceOf("old", -3, kUnused) +
                 PieceOf("b", -1e-3F, kNormal));
}

TEST(SentencePiece, ReadsPiecesByIdWithScoreAndType) {
  const TempFolder folder;
  const Result<std::vector<Piece>> pieces =
      ReadSentencePiece(folder.Write("tokenizer.model", SmallModel()));
  ASSERT_THAT(pieces, IsOk());
  ASSERT_EQ(pieces->size(), 7U);
  const auto expect = [&](std::size_t id, std::string_view text, float score, TokenType type) {
    EXPECT_EQ((*pieces)[id].text, text);
    EXPECT_EQ((*pieces)[id].score, score) << text;
    EXPECT_EQ((*pieces)[id].type, type) << text;
  };
  expect(0, "<unk>", 0, TokenType::kUnknown);
  expect(1, "<s>", 0, TokenType::kControl);
  expect(2, "</s>", 0, TokenType::kControl);
  expect(3, "\u2581a", -1.5F, TokenType::kNormal);
  expect(4, "<mine>", -2, TokenType::kNormal);
  expect(5, "old", -3, TokenType::kUnused);
  expect(6, "b", -1e-3F, TokenType::kNormal);
}

TEST(SentencePiece, ReadsBytePieces) {
  std::string text = PieceOf("<unk>", 0, kUnknown);
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::string name = std::string("<0x") + kDigits[static_cast<std::size_t>(byte / 16)] +
                             kDigits[static_cast<std::size_t>(byte % 16)] + ">";
    text += PieceOf(name, 0, kByte);
  }
  text += PieceOf("a", -1, kNormal);
  const TempFolder folder;
  const Result<std::vector<Piece>> pieces =
      ReadSentencePiece(folder.Write("tokenizer.model", ModelOf(text, true)));
  ASSERT_THAT(pieces, IsOk());
  ASSERT_EQ(pieces->size(), 258U);
  EXPECT_EQ((*pieces)[1].text, "<0x00>");
  EXPECT_EQ((*pieces)[1].type, TokenType::kByte);
  EXPECT_EQ((*pieces)[256].text, "<0xFF>");
  EXPECT_EQ((*pieces)[256].type, TokenType::kByte);
  EXPECT_EQ((*pieces)[257].type, TokenType::kNormal);
}

TEST(SentencePiece, RejectsABrokenFile) {
  const TempFolder folder;
  const std::string model = SmallModel();
  for (const std::string& content :
       {std::string(), std::string("{}"), model.substr(0, model.size() / 2), model + "\xFF",
        PieceOf("a", 0, kNormal), ModelOf(""), ModelOf(PieceOf("a", 0, kNormal))}) {
    const std::string path = folder.Write("tokenizer.model", content);
    EXPECT_THAT(ReadSentencePiece(path),
                Fails(ErrorCode::kCorrupt, path + ": not a SentencePiece model: got "))
        << content.size() << " bytes";
  }
}

// A cut between two fields leaves a shorter but valid model, anything else must be refused.
TEST(SentencePiece, MemorySafeOnEveryPrefix) {
  const TempFolder folder;
  const std::string model = SmallModel();
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < model.size(); ++size) {
    const std::string path = folder.Write("tokenizer.model", model.substr(0, size));
    const Result<std::vector<Piece>> pieces = ReadSentencePiece(path);
    if (pieces) {
      ++accepted;
      EXPECT_LE(pieces->size(), 7U);
    } else {
      EXPECT_EQ(pieces.error().code, ErrorCode::kCorrupt);
    }
  }
  EXPECT_LE(accepted, 8U) << "at most one for each field of the model";
}

TEST(SentencePiece, TellsAGitLfsPointer) {
  const TempFolder folder;
  const std::string path = folder.Write(
      "tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  EXPECT_THAT(ReadSentencePiece(path),
              Fails(ErrorCode::kCorrupt, path + ": this is a Git LFS pointer"));
}

TEST(SentencePiece, ReportsAMissingFile) {
  const TempFolder folder;
  EXPECT_THAT(ReadSentencePiece(folder.Path("tokenizer.model")),
              Fails(ErrorCode::kMissing, folder.Path("tokenizer.model") + ": cannot open"));
}

}  // namespace
}  // namespace sluice::tokenizer
