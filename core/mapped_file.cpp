#include "core/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "core/checked.h"

namespace sluice {
namespace {

// Linux 5.14; the number is part of the kernel's ABI, older headers lack the name.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

std::uint64_t PageBytes() {
  static const auto kBytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return kBytes;
}

// One live mapping as the signal handler sees it. Slots are never freed, only reused, so that the
// handler can walk them without a lock.
struct Slot {
  std::atomic<std::uintptr_t> begin{0};  // 0: the slot is free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> damaged{false};
};

constexpr std::size_t kMaxMappings = 8192;
std::array<Slot, kMaxMappings> slots;
std::mutex slots_mutex;
struct sigaction previous_action;

void RestorePreviousAction() { ::sigaction(SIGBUS, &previous_action, nullptr); }

void OnSigbus(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= slot.end.load(std::memory_order_relaxed)) {
      continue;
    }
    const std::uintptr_t page = address / PageBytes() * PageBytes();
    // The bare system call: safe in a handler, and no write that a thread sanitizer would report.
    const long zeros = ::syscall(SYS_mmap, page, PageBytes(), PROT_READ,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == -1) break;
    slot.damaged.store(true, std::memory_order_release);
    return;
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
  } else {
    RestorePreviousAction();  // the access repeats and meets the default action
  }
}

void InstallHandlerOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    PageBytes();  // the handler must not run the static initialiser
    struct sigaction action {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_action);
  });
}

Error Changed(const std::string& path, std::uint64_t expected_bytes,
              const Result<std::uint64_t>& now) {
  return MakeError(ErrorCode::kCorrupt, "file changed while it was read")
      .In(path)
      .Expected(fmt::format("{} bytes", expected_bytes))
      .Actual(now ? fmt::format("{} bytes", *now) : "an unreadable file")
      .Advice("let the download or copy of the checkpoint finish, then convert again");
}

Slot* ClaimSlot(const void* begin, std::uint64_t size) {
  const std::lock_guard lock(slots_mutex);
  for (Slot& slot : slots) {
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    slot.damaged.store(false, std::memory_order_relaxed);
    slot.end.store(address + RoundUp(size, PageBytes()), std::memory_order_relaxed);
    slot.begin.store(address, std::memory_order_release);
    return &slot;
  }
  return nullptr;
}

}  // namespace

struct MappedFile::Mapping {
  File file;
  const std::byte* begin = nullptr;
  std::uint64_t size = 0;
  Slot* slot = nullptr;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (slot != nullptr) slot->begin.store(0, std::memory_order_release);
    if (begin != nullptr) ::munmap(const_cast<std::byte*>(begin), size);
  }

  // The whole pages that hold [offset, offset + count).
  [[nodiscard]] std::pair<void*, std::size_t> Pages(std::uint64_t offset,
                                                    std::uint64_t count) const {
    if (count == 0) return {nullptr, 0};
    const std::uint64_t page = PageBytes();
    const std::uint64_t first = offset / page * page;
    const std::uint64_t last = RoundUp(offset + count, page);
    return {const_cast<std::byte*>(begin) + first, last - first};
  }
};

MappedFile::MappedFile(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
MappedFile::MappedFile(MappedFile&&) noexcept = default;
MappedFile& MappedFile::operator=(MappedFile&&) noexcept = default;
MappedFile::~MappedFile() = default;

Result<MappedFile> MappedFile::Open(const std::string& path,
                                    std::optional<std::uint64_t> expected_bytes) {
  auto mapping = std::make_unique<Mapping>();
  SLUICE_ASSIGN(mapping->file, File::OpenForReading(path));
  SLUICE_ASSIGN(mapping->size, mapping->file.Size());
  if (expected_bytes && mapping->size != *expected_bytes) {
    return Changed(path, *expected_bytes, mapping->size);
  }
  if (mapping->size == 0) return MappedFile(std::move(mapping));
  InstallHandlerOnce();
  void* const address =
      ::mmap(nullptr, mapping->size, PROT_READ, MAP_SHARED, mapping->file.descriptor(), 0);
  if (address == MAP_FAILED) return ErrnoError("cannot map", path, errno);
  mapping->begin = static_cast<const std::byte*>(address);
  mapping->slot = ClaimSlot(address, mapping->size);
  if (mapping->slot == nullptr) {
    return MakeError(ErrorCode::kResource, "too many files are mapped at once")
        .In(path)
        .Expected(fmt::format("at most {}", kMaxMappings));
  }
  return MappedFile(std::move(mapping));
}

std::span<const std::byte> MappedFile::bytes() const { return {mapping_->begin, mapping_->size}; }

const File& MappedFile::file() const { return mapping_->file; }

Status MappedFile::Populate(std::uint64_t offset, std::uint64_t size) const {
  const auto [address, length] = mapping_->Pages(offset, size);
  if (address == nullptr) return Ok();
  while (::madvise(address, length, MADV_POPULATE_READ) != 0) {
    switch (errno) {
      case EINTR:
      case EAGAIN:
        continue;
      case EFAULT:  // the kernel would have raised SIGBUS
        mapping_->slot->damaged.store(true, std::memory_order_release);
        return CheckIntact();
      case EINVAL:  // before Linux 5.14: the access itself faults the pages in
      case ENOMEM:  // a page of zeros was put into the range after an earlier SIGBUS
        return CheckIntact();
      default:
        return ErrnoError("cannot read", path(), errno).AtOffset(offset);
    }
  }
  return CheckIntact();
}

void MappedFile::Release(std::uint64_t offset, std::uint64_t size) const {
  const std::uint64_t end = offset + size;
  const std::uint64_t shared = end == mapping_->size ? 0 : end % PageBytes();
  if (size <= shared) return;
  const auto [address, length] = mapping_->Pages(offset, size - shared);
  if (address != nullptr) ::madvise(address, length, MADV_DONTNEED);
}

Status MappedFile::CheckIntact() const {
  // A loss inside the last page raises no signal: the kernel fills the page with zeros.
  const Result<std::uint64_t> now = mapping_->file.Size();
  const bool damaged =
      mapping_->slot != nullptr && mapping_->slot->damaged.load(std::memory_order_acquire);
  if (!damaged && now && *now == mapping_->size) return Ok();
  return Changed(path(), mapping_->size, now);
}

}  // namespace sluice
