// A data race inside flow-graph nodes, planted on purpose: the thread-sanitizer build must report
// it. If it did not, silence about our own graph would mean nothing.
#include <oneapi/tbb/flow_graph.h>

#include <cstdint>
#include <cstdio>
#include <thread>

int main() {
  std::uint64_t unprotected = 0;
  tbb::flow::graph graph;
  tbb::flow::function_node<int, int> racing(graph, tbb::flow::unlimited, [&](int value) {
    ++unprotected;
    std::this_thread::yield();
    return value;
  });
  constexpr int kMessages = 20'000;
  for (int i = 0; i < kMessages; ++i) racing.try_put(i);
  graph.wait_for_all();
  std::printf("counted %llu\n", static_cast<unsigned long long>(unprotected));
}
