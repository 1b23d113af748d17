// The measuring pass: the same sums whatever the options, within the memory that it may use.
#include "pipeline/measure/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "formats/quant/codec.h"
#include "result_matchers.h"
#include "tests/pipeline/graph_fixture.h"
#include "tests/pipeline/heap.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using gguf::TensorType;

constexpr int kManyThreads = 7;

// Shards of finite floats: small integers in BF16, two bytes each, at an even offset.
class MeasureErrorsTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kRows = 1500;
  static constexpr std::uint64_t kColumns = 512;

  MeasureErrorsTest() {
    Random random(211);
    std::vector<std::byte>& bytes = shards_.emplace_back(kRows * kColumns * sizeof(std::uint16_t));
    for (std::size_t i = 0; i < kRows * kColumns; ++i) {
      // Sign, an exponent near 0 and a mantissa.
      const auto bits = static_cast<std::uint16_t>(random.Between(0x3F00, 0x3FFF) |
                                                   (random.OneIn(2) ? 0x8000 : 0));
      std::memcpy(bytes.data() + i * sizeof bits, &bits, sizeof bits);
    }
  }

  [[nodiscard]] SourceSet Open() const {
    Result<SourceSet> sources = SourceSet::Open({}, IoMode::kMmap, shards_);
    EXPECT_THAT(sources, IsOk());
    return *std::move(sources);
  }

  static MeasureJob Job(bool transposed, std::vector<TensorType> types) {
    MeasureJob job;
    job.name = transposed ? "transposed" : "plain";
    // 1280 rows: a transposed row is whole blocks too.
    job.expr = MatrixExpr(Dtype::kBF16, TensorType::kBF16, transposed ? 1280 : kRows, kColumns,
                          transposed, 0);
    job.expr.quantizing.emplace();
    job.expr.quantizing->rounded = TensorType::kBF16;
    job.types = std::move(types);
    return job;
  }

  [[nodiscard]] float Value(std::size_t index) const {
    std::uint16_t bits = 0;
    std::memcpy(&bits, shards_.front().data() + index * sizeof bits, sizeof bits);
    const std::uint32_t wide = std::uint32_t{bits} << 16;
    float value = 0;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }

  std::vector<std::vector<std::byte>> shards_;
};

MATCHER_P(SameErrors, expected, "") {
  for (std::size_t i = 0; i < arg.size(); ++i) {
    if (arg[i].values.elements != expected[i].values.elements ||
        arg[i].values.squares != expected[i].values.squares ||
        std::memcmp(arg[i].types.data(), expected[i].types.data(),
                    arg[i].types.size() * sizeof(ErrorSums)) != 0) {
      *result_listener << "which differs at job " << i;
      return false;
    }
  }
  return arg.size() == expected.size();
}

TEST_F(MeasureErrorsTest, ForeignExceptionsDoNotEscape) {
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ4_0})};
  GraphOptions options = Options(2, kPlenty);
  options.on_progress = [](const Progress&) { throw std::bad_alloc(); };
  EXPECT_THAT(MeasureErrors(Open(), jobs, 0, options),
              Fails(ErrorCode::kResource, "out of memory"));
}

TEST_F(MeasureErrorsTest, SumsAreThoseOfTheReferenceCodec) {
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ4_0, TensorType::kBF16})};
  const auto measured = MeasureErrors(Open(), jobs, 0, Options(2, kPlenty));
  ASSERT_THAT(measured, IsOk());
  double squares = 0;
  double squared_error = 0;
  double largest = 0;
  const quant::Codec& codec = *quant::FindCodec(TensorType::kQ4_0);
  std::vector<float> row(kColumns);
  std::vector<float> decoded(kColumns);
  std::vector<std::byte> encoded(*gguf::TensorBytes(TensorType::kQ4_0, kColumns));
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kColumns; ++c) row[c] = Value(r * kColumns + c);
    codec.encode(row, {}, false, encoded.data());
    codec.decode(encoded.data(), decoded);
    for (std::size_t c = 0; c < kColumns; ++c) {
      const double error = static_cast<double>(row[c]) - decoded[c];
      squares += static_cast<double>(row[c]) * row[c];
      squared_error += error * error;
      largest = std::max(largest, std::abs(error));
    }
  }
  const TensorErrors& errors = measured->front();
  EXPECT_EQ(errors.values.elements, kRows * kColumns);
  EXPECT_NEAR(errors.values.squares / squares, 1, 1e-12);
  EXPECT_NEAR(errors.types[0].squared_error / squared_error, 1, 1e-12);
  EXPECT_EQ(errors.types[0].weighted_error, errors.types[0].squared_error) << "no weights";
  EXPECT_EQ(errors.types[0].largest_error, largest);
  EXPECT_EQ(errors.types[1].squared_error, 0) << "the source's own type loses nothing";
  EXPECT_EQ(errors.types[1].products, errors.values.squares);
}

TEST_F(MeasureErrorsTest, SumsDoNotDependOnThreadsOrMemory) {
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ8_0, TensorType::kQ4_K}),
                                     Job(true, {TensorType::kIQ4_XS})};
  const SourceSet sources = Open();
  const auto expected = MeasureErrors(sources, jobs, 0, Options(1, kPlenty));
  ASSERT_THAT(expected, IsOk());
  for (const int threads : {1, 2, kManyThreads}) {
    for (const std::uint64_t memory : {kMinMemoryBytes, kPlenty}) {
      const auto measured = MeasureErrors(sources, jobs, 0, Options(threads, memory));
      ASSERT_THAT(measured, IsOk());
      EXPECT_THAT(*measured, SameErrors(*expected)) << threads << " threads, " << memory;
    }
  }
}

TEST_F(MeasureErrorsTest, PartsOfALargeTensorAreThoseThatAreNamed) {
  // 3 units of 512 rows, the last of 476: of two the first and the second are taken.
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ8_0})};
  const auto measured = MeasureErrors(Open(), jobs, 2, Options(2, kPlenty));
  ASSERT_THAT(measured, IsOk());
  EXPECT_EQ(measured->front().values.elements, 2 * 512 * kColumns);
  double squares = 0;
  for (std::size_t i = 0; i < 2 * 512 * kColumns; ++i) {
    squares += static_cast<double>(Value(i)) * Value(i);
  }
  EXPECT_NEAR(measured->front().values.squares / squares, 1, 1e-12);
  const auto all = MeasureErrors(Open(), jobs, 3, Options(2, kPlenty));
  ASSERT_THAT(all, IsOk());
  EXPECT_EQ(all->front().values.elements, kRows * kColumns);
}

TEST_F(MeasureErrorsTest, ProgressRisesToTheTotal) {
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ8_0}),
                                     Job(true, {TensorType::kQ8_0})};
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  GraphOptions options = Options(kManyThreads, kPlenty);
  options.on_progress = [&](const Progress& progress) {
    EXPECT_GT(progress.bytes_done, last);
    last = progress.bytes_done;
    total = progress.bytes_total;
  };
  ASSERT_THAT(MeasureErrors(Open(), jobs, 0, options), IsOk());
  EXPECT_EQ(total, (kRows + 1280) * kColumns * sizeof(std::uint16_t));
  EXPECT_EQ(last, total);
}

TEST_F(MeasureErrorsTest, BuffersStayWithinTheBudget) {
  constexpr std::uint64_t kBookkeepingBytes = std::uint64_t{1} << 20;
  const std::vector<MeasureJob> jobs{Job(true, {TensorType::kQ8_0, TensorType::kQ4_0}),
                                     Job(false, {TensorType::kF32})};
  const SourceSet sources = Open();
  for (const int threads : {1, kManyThreads}) {
    std::uint64_t peak = 0;
    GraphOptions options = Options(threads, kMinMemoryBytes);
    options.on_progress = [&](const Progress&) { peak = std::max(peak, HeapBytesInUse()); };
    const std::uint64_t before = HeapBytesInUse();
    ASSERT_THAT(MeasureErrors(sources, jobs, 0, options), IsOk());
    EXPECT_LE(peak - before, kMinMemoryBytes + kBookkeepingBytes) << threads << " threads";
  }
}

TEST_F(MeasureErrorsTest, TheFirstValueThatIsNotFiniteIsNamed) {
  constexpr std::uint16_t kNan = 0x7FC0;
  for (const std::size_t index : {std::size_t{600 * kColumns + 7}, std::size_t{1400 * kColumns}}) {
    std::memcpy(shards_.front().data() + index * sizeof kNan, &kNan, sizeof kNan);
  }
  std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ8_0})};
  for (const int threads : {1, kManyThreads}) {
    const auto failed = MeasureErrors(Open(), jobs, 0, Options(threads, kPlenty));
    EXPECT_THAT(failed, Fails(ErrorCode::kCorrupt, "'plain'"));
    EXPECT_THAT(failed, Fails(ErrorCode::kCorrupt, "row 600, column 7"));
  }
  jobs.front().expr.quantizing->zero_non_finite = true;
  EXPECT_THAT(MeasureErrors(Open(), jobs, 0, Options(2, kPlenty)), IsOk());
}

TEST_F(MeasureErrorsTest, StopsWhenItIsCancelled) {
  const std::atomic<bool> cancel{true};
  GraphOptions options = Options(2, kPlenty);
  options.cancel = &cancel;
  const std::vector<MeasureJob> jobs{Job(false, {TensorType::kQ8_0})};
  EXPECT_THAT(MeasureErrors(Open(), jobs, 0, options), Fails(ErrorCode::kCancelled, "cancelled"));
}

TEST_F(MeasureErrorsTest, NothingToMeasure) {
  const auto measured = MeasureErrors(Open(), {}, 0, Options(1, kPlenty));
  ASSERT_THAT(measured, IsOk());
  EXPECT_TRUE(measured->empty());
}

}  // namespace
}  // namespace sluice
