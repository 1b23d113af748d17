"""`cmake --install` and the Debian package: what is in them works away from the source tree."""
import os
import pathlib
import re
import subprocess

import pytest

from sluice_cli import GOLDEN, TESTS, convert, run, sha256

BUILD = pathlib.Path(os.environ["SLUICE_BUILD"])
CMAKE = os.environ["SLUICE_CMAKE"]
CPACK = os.environ["SLUICE_CPACK"]
LLAMA = GOLDEN / "checkpoints" / "llama-tiny"

# Kind of reference text and where Debian's shells and man look for it.
REFERENCES = {"man": "share/man/man1/sluice.1",
              "bash": "share/bash-completion/completions/sluice",
              "zsh": "share/zsh/site-functions/_sluice",
              "fish": "share/fish/vendor_completions.d/sluice.fish"}


def call(*command, **options):
    """Runs a tool and insists on success; gives its output."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix") / "usr"
    call(CMAKE, "--install", BUILD, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    call(CPACK, "-G", "DEB", "--config", BUILD / "CPackConfig.cmake", "-B", folder)
    (package,) = folder.glob("*.deb")
    return package


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    call("dpkg-deb", "-x", package, folder)
    return folder / "usr"


def assert_has_the_program(root):
    version = run("--version").stdout
    assert call(root / "bin" / "sluice", "--version") == version
    for kind, path in REFERENCES.items():
        assert (root / path).read_text() == run("reference", kind).stdout


# ---- cmake --install ----------------------------------------------------------------------------


def test_installed_program(prefix, tmp_path):
    assert_has_the_program(prefix)
    convert(LLAMA, tmp_path / "a.gguf")
    call(prefix / "bin" / "sluice", "convert", LLAMA, tmp_path / "b.gguf")
    assert sha256(tmp_path / "a.gguf") == sha256(tmp_path / "b.gguf")


def build_consumer(prefix, folder):
    """Configures and builds consumer/ against the installed library only."""
    call(CMAKE, "-S", TESTS / "install" / "consumer", "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}",
         "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    call(CMAKE, "--build", folder)
    return folder / "consumer"


def test_library_of_an_installation(prefix, tmp_path):
    consumer = build_consumer(prefix, tmp_path / "build")
    assert call(consumer, LLAMA, tmp_path / "a.gguf") == "31 tensors\n"
    convert(LLAMA, tmp_path / "b.gguf")
    assert sha256(tmp_path / "a.gguf") == sha256(tmp_path / "b.gguf")
    result = subprocess.run([consumer, tmp_path / "nowhere", tmp_path / "c.gguf"],
                            capture_output=True, text=True)
    assert result.returncode == 1 and "nowhere" in result.stderr


def test_installation_can_be_moved(prefix):
    # No path of the source or build tree in what others read.
    for path in prefix.rglob("*"):
        if path.suffix in (".cmake", ".h"):
            text = path.read_text()
            assert str(TESTS.parent) not in text and str(BUILD) not in text, path


def test_installed_headers_find_each_other(prefix, tmp_path):
    headers = sorted((prefix / "include" / "sluice").rglob("*.h"))
    assert prefix / "include" / "sluice" / "pipeline" / "convert.h" in headers
    source = tmp_path / "headers.cpp"
    source.write_text("".join(f'#include "{path}"\n' for path in headers))
    call("c++", "-std=c++20", "-fsyntax-only", f"-I{prefix}/include/sluice", source)


# ---- Debian package -----------------------------------------------------------------------------


def test_package_contains_program_man_page_and_completions(package, unpacked):
    listed = call("dpkg-deb", "-c", package)
    for path in ("bin/sluice", *REFERENCES.values()):
        assert re.search(rf" \./usr/{path}$", listed, re.M), path
    assert_has_the_program(unpacked)


def test_packaged_man_page_is_readable(unpacked):
    text = call("man", "-l", unpacked / REFERENCES["man"], env={"PATH": os.environ["PATH"]})
    assert "sluice convert" in text


def test_package_says_what_it_is_and_needs(package):
    fields = dict(line.split(": ", 1) for line in call("dpkg-deb", "-f", package).splitlines()
                  if ": " in line and not line.startswith(" "))
    assert fields["Package"] == "sluice"
    assert f"sluice {fields['Version']}\n" == run("--version").stdout
    for library in ("libtbb12", "libsimdjson14", "libfmt9", "libc6", "libsentencepiece0"):
        assert re.search(rf"\b{library}\b", fields["Depends"]), fields["Depends"]


def test_package_holds_the_program_alone(unpacked):
    # What it takes to build against the library is a matter of `cmake --install`.
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert files == {"bin/sluice", "share/doc/sluice/copyright", *REFERENCES.values()}


def test_package_has_the_notices_of_what_is_compiled_into_it(unpacked):
    notices = (unpacked / "share" / "doc" / "sluice" / "copyright").read_text()
    for part in ("CLI/", "nlohmann", "fmt", "httplib", "yaml-cpp", "hwy", "simdjson", "tbb", "The ggml authors"):
        assert part in notices, part
    # Every licence that is named has its text, or says where Debian keeps it.
    named = set(re.findall(r"^License: (\S+)$", notices, re.M))
    assert named == {"Expat", "BSD-3-clause", "Apache-2.0", "none"}
    for name in named:
        assert re.search(rf"^License: {re.escape(name)}\n \S", notices, re.M), name


def test_packaged_program_is_stripped(unpacked):
    assert ".symtab" not in call("readelf", "--sections", "--wide", unpacked / "bin" / "sluice")
