"""What the program says about itself: --help, man page, completions and docs/ must agree."""
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from sluice_cli import GOLDEN, SLUICE, TESTS, assert_fails, assert_one_message, convert, run

COMMANDS = ["convert", "plan", "quantize", "measure", "merge", "edit", "inspect", "diff", "verify", "logits",
            "perplexity", "imatrix", "tokenize", "run", "chat", "serve"]
# Commands whose JSON docs/json.md describes with that of another.
JSON_SECTION = {"quantize": "convert", "merge": "convert"}
DOCS = TESTS.parent / "docs"
LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
GLM = GOLDEN / "checkpoints" / "glm-tiny"


def output(*arguments):
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


def help_options(*command):
    """{long name: explanation} of the flags that `sluice COMMAND --help` shows."""
    section = output(*command, "--help").split("\nOptions:\n")[1].split("\n\n")[0]
    # A long name has its explanation on the next line.
    entries = re.split(r"\n(?=  -)", re.sub(r"\n {10,}", "  ", section.rstrip("\n")))
    parsed = {}
    for entry in entries:
        match = re.fullmatch(
            r"  (?:-\w,)?--([\w-]+)(?: (?!Excludes|Needs)\S+)?(?: \.\.\.)?((?: REQUIRED)?)(?: (?:Needs|Excludes):(?: --\S+)+)* +(\S.*)",
            entry)
        assert match, entry
        parsed[match[1]] = match[3] + (" (required: no default)" if match[2] else "")
    return parsed


def help_positionals(command):
    section = output(command, "--help").split("Positionals:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in section.splitlines()]


# ---- --help and --version -----------------------------------------------------------------------


def test_help_lists_the_commands():
    text = output("--help")
    listed = text.split("Subcommands:\n")[1]
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == COMMANDS
    assert set(help_options()) == {"help", "version", "quiet"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_flag_with_its_default(command):
    options = help_options(command)
    assert options.pop("help") == "Print this help message and exit"
    for name, explanation in options.items():
        assert "default" in explanation, f"--{name} {explanation}"


def test_help_shows_the_default_of_quiet():
    assert "default" in help_options()["quiet"]


@pytest.mark.parametrize("command", COMMANDS)
def test_short_help_equals_long_help(command):
    assert output(command, "-h") == output(command, "--help")


def test_version_is_that_of_the_project():
    cmake = (TESTS.parent / "CMakeLists.txt").read_text()
    version = re.search(r"project\(sluice VERSION (\S+)", cmake)[1]
    assert output("--version") == f"sluice {version}\n"
    assert f'"sluice {version}"' in output("reference", "man")


# ---- Wrong command lines ------------------------------------------------------------------------


def refuse_usage(arguments, *words):
    result = run(*arguments)
    assert_fails(result, 2, *words)
    assert_one_message(result)
    assert result.stdout == ""


@pytest.mark.parametrize("arguments, word, suggestion", [
    (["convert", "--thread", "3", "a", "b"], "--thread", "--threads"),
    (["convert", "--thread=3", "a", "b"], "--thread", "--threads"),
    (["convert", "a", "b", "--mem", "8M"], "--mem", "--memory"),
    (["convert", "a", "b", "--froce"], "--froce", "--force"),
    (["convert", "--frce"], "--frce", "--force"),
    (["plan", "a", "--jsno"], "--jsno", "--json"),
    (["inspect", "a", "--tensors", "b"], "--tensors", "--tensor"),
    (["diff", "a", "b", "--quite"], "--quite", "--quiet"),
    (["--verison"], "--verison", "--version"),
    (["convrt", "a", "b"], "convrt", "convert"),
])
def test_misspelt_words_get_a_suggestion(arguments, word, suggestion):
    refuse_usage(arguments, f"'{word}'", f"did you mean '{suggestion}'?")


@pytest.mark.parametrize("arguments, words", [
    ([], ["no command", "--help"]),
    (["frobnicate"], ["'frobnicate'", "--help"]),
    (["plan", "a", "--no-sync"], ["'--no-sync'", "sluice plan --help"]),
    (["convert", "a", "b", "-x"], ["'-x'", "sluice convert --help"]),
    (["convert"], ["CHECKPOINT", "sluice convert --help"]),
    (["convert", "a"], ["OUT", "sluice convert --help"]),
    (["convert", "a", "b", "c"], ["c", "sluice convert --help"]),
    (["inspect"], ["FILE", "sluice inspect --help"]),
    (["diff", "a"], ["B", "sluice diff --help"]),
    (["convert", "a", "b", "--threads"], ["--threads"]),
    (["convert", "a", "b", "--threads", "1", "--threads", "2"], ["--threads"]),
])
def test_other_wrong_command_lines(arguments, words):
    refuse_usage(arguments, *words)


@pytest.mark.parametrize("setting", ["x", "=u32:1", "x=1", "x=u33:1", "x=u8:256", "x=u32:-1",
                                     "x=u32:", "x=f32:one", "x=bool:maybe", "x=arr:1"])
def test_settings_that_are_no_typed_value(setting):
    refuse_usage(["plan", LLAMA, "--set", setting], "TYPE:VALUE", setting.split("=")[1] if
                 setting.startswith("x=") else setting)


@pytest.mark.parametrize("value, kind", [("u8:256", "u8"), ("u32:-1", "u32"), ("bool:maybe", "bool (true or false)")])
def test_values_that_their_type_cannot_hold(value, kind):
    refuse_usage(["plan", LLAMA, "--set", f"x={value}"], f"a VALUE that {kind} can hold, got '{value}'")


# ---- Man page and completions -------------------------------------------------------------------


def man_sections():
    """{command: text} of the man page's source; "" is the part before the first command."""
    parts = re.split(r"^\.SH SLUICE (\w+)$", output("reference", "man"), flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_man_page_has_every_flag_and_its_explanation(command):
    section = man_sections()[command].replace("\\-", "-").replace("\\&", "")
    for name, explanation in help_options(*command.split()).items():
        words = re.escape(explanation.removesuffix(" (required: no default)"))
        entry = rf"^\.TP\n\.B (-\w,)?--{name}( \S+)?\n{words}$"
        assert len(re.findall(entry, section, re.M)) == 1, name
    for name in help_positionals(command) if command else []:
        assert re.search(rf"^\.TP\n\.B {name}$", section, re.M), name


def test_man_page_has_every_command_and_no_hidden_one():
    assert list(man_sections()) == ["", *COMMANDS]


def test_man_page_renders_without_warnings(tmp_path):
    page = tmp_path / "sluice.1"
    page.write_text(output("reference", "man"))
    result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], capture_output=True,
                            text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200"})
    assert (result.returncode, result.stderr) == (0, "")
    for command in COMMANDS:
        for name in help_options(command):
            assert f"--{name}" in result.stdout, name


def bash_completion(script, *words):
    """What bash offers for the last word."""
    code = f"source {script}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _sluice; " \
           "printf '%s\\n' \"${COMPREPLY[@]}\""
    result = subprocess.run(["bash", "-c", code, "bash", "sluice", *words], capture_output=True,
                            text=True, check=True)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory):
    path = tmp_path_factory.mktemp("bash") / "sluice"
    path.write_text(output("reference", "bash"))
    return path


def test_bash_completes_commands(bash_script):
    assert bash_completion(bash_script, "") == COMMANDS
    assert bash_completion(bash_script, "co") == ["convert"]
    assert set(bash_completion(bash_script, "--")) == {f"--{name}" for name in help_options()}


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_flags(bash_script, command):
    flags = {f"--{name}" for name in {**help_options(command), **help_options()}}
    assert set(bash_completion(bash_script, command, "--")) == flags


def test_bash_completes_files(bash_script, tmp_path):
    (tmp_path / "model.gguf").touch()
    assert bash_completion(bash_script, "inspect", str(tmp_path / "mo")) == [
        str(tmp_path / "model.gguf")]


@pytest.mark.parametrize("command", COMMANDS)
def test_zsh_completes_flags(command):
    script = output("reference", "zsh")
    assert script.startswith("#compdef sluice\n")
    section = re.search(rf"\n    {command}\)\n(.*?)\n      ;;", script, re.S)[1]
    flags = set(re.findall(r"^        '--([\w-]+)\[", section, re.M))
    assert flags == set(help_options(command)) | set(help_options())


@pytest.mark.parametrize("command", COMMANDS)
def test_fish_completes_flags(command):
    script = output("reference", "fish")
    flags = set(re.findall(rf"__fish_seen_subcommand_from {command}' -l ([\w-]+) ", script))
    assert flags == set(help_options(command)) | set(help_options())
    assert f"complete -c sluice -n __fish_use_subcommand -a {command} -d '" in script


def test_completions_are_valid_shell(tmp_path):
    # zsh and fish need not be installed; quotes that bash can pair are right in both.
    for kind in ("bash", "zsh"):
        (tmp_path / kind).write_text(output("reference", kind))
        subprocess.run(["bash", "-n", tmp_path / kind], check=True)


# ---- docs/json.md -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def json_outputs(tmp_path_factory):
    """{title of a section of docs/json.md: the objects printed}."""
    folder = tmp_path_factory.mktemp("json")
    a, b = folder / "a.gguf", folder / "b.gguf"
    progress = convert(LLAMA, a, "--progress", "json").stderr
    convert(LLAMA, b, "--outtype", "f16")
    inspections = [[a], [LLAMA], [a, "--kv", "general.name"], [a, "--tensor", "output.weight"]]
    quantized = run("quantize", a, folder / "q.gguf", "--type", "Q8_0", "--progress", "json").stderr
    convert(LLAMA, folder / "c.gguf", "--max-shard-size", "100K")
    first = sorted(folder.glob("c-00001-*"))[0]
    merged = run("merge", first, folder / "d.gguf", "--progress", "json").stderr
    llama4 = GOLDEN / "checkpoints" / "llama4-tiny"
    return {
        "plan": [json.loads(run("plan", llama4, "--mmproj", "--json").stdout)],
        "convert": [json.loads(line) for line in progress.splitlines()],
        "quantize": [json.loads(line) for line in quantized.splitlines()],
        "measure": [json.loads(run("measure", LLAMA, "--type", "Q8_0", "--type", "Q4_K", "--json").stdout)],
        "merge": [json.loads(line) for line in merged.splitlines()],
        "inspect": [json.loads(run("inspect", *arguments, "--json").stdout)
                    for arguments in inspections],
        "diff": [json.loads(run("diff", a, b, "--json").stdout)],
        "verify": [json.loads(run("verify", *arguments, "--json").stdout)
                   for arguments in ([LLAMA, b], ["--logits", GLM, GLM])],
        "perplexity": [json.loads(run("perplexity", GLM, DOCS / "json.md", "--json").stdout)],
    }


def test_every_json_output_carries_the_format(json_outputs):
    assert all(printed["format"] == 1 for objects in json_outputs.values() for printed in objects)


def test_every_command_with_json_is_documented():
    documented = set(re.findall(r"^## `sluice (\w+)", (DOCS / "json.md").read_text(), re.M))
    assert documented == {command for command in COMMANDS if "json" in help_options(command)} | {"convert"}


def field_names(value):
    """The names of all fields of an object, but not the keys of a GGUF file."""
    names = set()
    if isinstance(value, list):
        for item in value:
            names |= field_names(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            names.add(name)
            names |= field_names(list(item.values()) if name == "key_values" else item)
    return names


@pytest.mark.parametrize("command", ["convert", "plan", "quantize", "measure", "merge", "inspect", "diff",
                                     "verify", "perplexity"])
def test_documented_fields_are_the_printed_ones(json_outputs, command):
    text = (DOCS / "json.md").read_text()
    title = JSON_SECTION.get(command, command)
    section = re.search(rf"^## `sluice {title} .*?(?=^## |\Z)", text, re.M | re.S)[0]
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", section))))
    # Words in code type that are values, not fields.
    documented -= {"sluice", *COMMANDS, "json", "progress", "kv", "KEY", "NAME", "null", "model",
                   "projector", "done", "order"}
    documented -= set("u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str arr".split())
    printed = field_names(json_outputs[command])
    if command == "inspect":
        printed -= {"type", "value", "of"}  # documented with plan, "as above"
        documented -= {"type", "value"}
    if command == "diff":
        documented -= {"key", "tensor"}
    if command == "verify":
        documented -= {"logits"}
    if command == "perplexity":
        documented |= {"perplexity"}  # also the command's name
    if command == "plan":
        documented |= {"of"}
    assert printed - {"format"} == documented


# ---- docs/exit-codes.md -------------------------------------------------------------------------


def documented_codes():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (DOCS / "exit-codes.md").read_text(), re.M)
    return {int(code): meaning for code, meaning in rows}


def test_documented_codes_are_those_of_the_program_and_the_man_page():
    header = (TESTS.parent / "cli" / "command.h").read_text()
    in_program = re.search(r"enum ExitCode : int \{(.*?)\}", header, re.S)[1]
    assert {int(code) for code in re.findall(r"= (\d+)", in_program)} == set(documented_codes())
    in_man = output("reference", "man").split(".SH EXIT STATUS\n")[1]
    assert {int(code) for code in re.findall(r"(?:^|; )(\d+) ", in_man)} == set(documented_codes())


@pytest.mark.parametrize("code, meaning, arguments", [
    (0, "success", ["plan", LLAMA]),
    (1, "differ", ["diff", "{a}", "{b}"]),
    (2, "wrong flags", ["convert", LLAMA, "{new}", "--nonsense"]),
    (2, "output that exists", ["convert", LLAMA, "{a}"]),
    (2, "one of the sources", ["convert", LLAMA, LLAMA / "model.safetensors"]),
    (3, "wrong inside a file", ["inspect", LLAMA / "config.json"]),
    (3, "missing file", ["inspect", "{new}"]),
    (3, "folder", ["convert", "{new}", "{new}"]),
    (4, "dialect", ["convert", GOLDEN / "checkpoints" / "mllama-tiny", "{new}", "--dialect",
                    "llama.cpp"]),
    (5, "output failed", ["convert", LLAMA, "/proc/new.gguf"]),
])
def test_codes_mean_what_is_documented(tmp_path, code, meaning, arguments):
    names = {name: tmp_path / f"{name}.gguf" for name in ("a", "b", "new")}
    convert(LLAMA, names["a"])
    convert(LLAMA, names["b"], "--outtype", "f16")
    arguments = [str(argument).format(**names) for argument in arguments]
    assert run(*arguments).returncode == code
    assert meaning in documented_codes()[code]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["convert", "--help"], ["plan", LLAMA],
                                       ["plan", LLAMA, "--json"], ["inspect", LLAMA],
                                       ["diff", "{a}", "{b}"]])
def test_results_that_cannot_be_printed_are_an_output_failure(tmp_path, arguments):
    names = {name: tmp_path / f"{name}.gguf" for name in ("a", "b")}
    convert(LLAMA, names["a"])
    convert(LLAMA, names["b"], "--outtype", "f16")
    arguments = [str(argument).format(**names) for argument in arguments]
    for target in ("/dev/full", "&-"):
        command = f'exec "$0" "$@" >{target}'
        result = subprocess.run(["sh", "-c", command, SLUICE, *arguments],
                                stderr=subprocess.PIPE, text=True)
        assert_fails(result, 5, "standard output")


@pytest.mark.parametrize("arguments", [["plan", LLAMA], ["plan", LLAMA, "--json"],
                                       ["measure", LLAMA, "--type", "Q8_0"], ["inspect", LLAMA]])
def test_a_reader_that_has_seen_enough_ends_it_silently(arguments):
    # `sluice plan ... | head -n 1`: no error message, like every other program.
    reader, writer = os.pipe()
    os.close(reader)
    result = run(*arguments, capture_output=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (-signal.SIGPIPE, "")


def test_documents_of_the_readme_exist():
    readme = (TESTS.parent / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", readme)
    assert links
    for link in links:
        assert (TESTS.parent / pathlib.Path(link)).exists(), link
