// consumer CHECKPOINT OUT: converts through the installed library.
#include <sluice/pipeline/convert.h>

#include <array>
#include <cstdio>
#include <string>

namespace {

int Fail(const sluice::Error& error) {
  std::fprintf(stderr, "%s\n", error.Format().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const sluice::Result<sluice::Plan> plan = sluice::MakePlan(argv[1], {});
  if (!plan) return Fail(plan.error());
  const std::array<std::string, 1> outputs{argv[2]};
  const sluice::Result<sluice::ConvertReport> report = sluice::Convert(*plan, outputs, {});
  if (!report) return Fail(report.error());
  std::printf("%llu tensors\n", static_cast<unsigned long long>(report->tensors));
  return 0;
}
