"""README, CONTRIBUTING and the documentation agree with the package."""

import argparse
import doctest
import importlib
import inspect
import json
import re
import shlex
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path
from string import Template
from types import ModuleType

import jsonargparse
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lightning_colorize.cli import COMMANDS
from lightning_colorize.common.errors import UsageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("[!_]*/*.md")])
WITH_COMMANDS = [*DOCUMENTS, ROOT / "Dockerfile", *sorted(ROOT.glob("experiments/**/*.yaml"))]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(path):
    return str(path.relative_to(ROOT))


def code_blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def table_rows(text, heading):
    """Return the cells of the first table below a heading, without its head."""
    section = text.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"^\|.*?(?=\n[^|])", section, flags=re.MULTILINE | re.DOTALL).group()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.split("\n")[2:]]


def example_files():
    """Return the files that CONTRIBUTING's example writes, by path."""
    block = r"`([\w/]+\.(?:py|yaml))`[^\n`]*:\n\n```\w+\n(.*?)^```$"
    return dict(re.findall(block, CONTRIBUTING, flags=re.MULTILINE | re.DOTALL))


def tracked_files():
    """Return the files that git tracks or would add."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_resolve(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.is_file(), f"{target} is missing"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_named_experiments_and_commands_exist(path):
    """In running text and in code: `lightning-colorize fit`, and in the image's entry point."""
    text = path.read_text()
    assert set(re.findall(r"\blightning-colorize +([a-z][a-z-]*)", text)) <= set(COMMANDS)
    named = set(re.findall(r"experiments/[\w/]+\.yaml", text)) - {"experiments/X.yaml"}
    if path.name == "CONTRIBUTING.md":
        named -= set(example_files())
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_command_is_installed_without_the_tools_of_development():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["default-groups"] == []
    (tests,) = re.findall(r"^pip install uv && uv run --group dev pytest$", README, re.MULTILINE)
    assert re.search(rf"^{tests}\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_readme_lists_every_command():
    first_words = [row[0].strip("`").split()[0] for row in table_rows(README, "## Commands")]
    assert sorted(first_words) == sorted(COMMANDS)


def test_every_system_has_a_page():
    systems = {path.stem for path in ROOT.glob("experiments/*.yaml")} - {"base", "quickstart"}
    index = (DOCS / "experiments/index.md").read_text()
    pages = dict(re.findall(r"\[`(\w+)`\]\((\w+\.md)\)", index))
    assert systems <= pages.keys()
    for system in systems:
        assert f"`{system}`" in (DOCS / "experiments" / pages[system]).read_text()


def test_documented_run_folder_matches_a_run(finished_run):
    tree = (DOCS / "concepts/runs.md").read_text().split("## The run folder")[1].split("##")[0]
    shown = set(re.findall(r"^ {6}([\w.]+)", tree, flags=re.MULTILINE))
    actual = {path.name for path in finished_run.iterdir()}
    assert actual <= shown
    assert shown - actual == {"wandb"}  # disabled in that run
    for name in re.findall(r"^ {6}(checkpoints/\S+)", tree, flags=re.MULTILINE):
        assert (finished_run / name).is_file()


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_lists_every_key_with_its_meaning(generated):
    text = (DOCS / "reference/configuration.md").read_text()
    marks = re.findall(r"<!-- generated: keys (\S+) (\S+) -->", text)
    assert [group for group, _ in marks] == ["data", *3 * ["model"], "run", "run.loggers"]
    for group, path in marks:
        rows = [line.split(" | ") for line in generated.keys(group, path).splitlines()[2:]]
        undocumented = [row[0] for row in rows if row[-1] in ("- |", " |")]
        assert not undocumented


def test_reference_lists_every_option_with_its_meaning(generated):
    text = generated.commands()
    undocumented = re.findall(r"^\| (`[^`]+`) \| - \|", text, flags=re.MULTILINE)
    assert not undocumented
    twice = re.findall(r"^\|.*\(default: .*\| `.+` \|$", text, flags=re.MULTILINE)
    assert not twice
    listed = re.findall(r"^## ([\w-]+)", text, flags=re.MULTILINE)
    assert {*listed, "fit"} == set(COMMANDS)


def test_every_source_is_documented():
    from lightning_colorize.data import sources

    rows = table_rows((DOCS / "how-to/your_data.md").read_text(), "## Sources")
    exported = {name for name in sources.__all__ if name.endswith("Source")} - {"Source"}
    assert {row[0].strip("`") for row in rows} == exported


@pytest.mark.parametrize("block", code_blocks((DOCS / "how-to/your_data.md").read_text(), "yaml"))
def test_documented_sources_are_accepted(block):
    from lightning_colorize.data.sources import Source

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data.root", type=str)
    parser.add_argument("--data.source", type=Source)
    assert parser.parse_string(block).data.source.class_path


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if "\n```pycon\n" in p.read_text()], ids=name_of
)
def test_python_examples_run(path, monkeypatch, tmp_path):
    """The pycon blocks are doctests; they use names of the page's python blocks."""
    monkeypatch.chdir(tmp_path)
    text = path.read_text()
    names = {"__name__": "example"}
    for block in code_blocks(text, "python"):
        exec(block, names)
    examples = "\n".join(code_blocks(text, "pycon"))
    test = doctest.DocTestParser().get_doctest(examples, names, name_of(path), str(path), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def shell_commands(text):
    """Return the words of each `lightning-colorize` command in the bash blocks of a page."""
    commands = []
    for block in code_blocks(text, "bash"):
        variables = {}
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(Template(line).safe_substitute(variables), comments=True)
            if len(words) == 1 and (match := re.fullmatch(r"([A-Z]+)=(.+)", words[0])):
                variables[match[1]] = match[2]
            for start in ("lightning-colorize", "lightning_colorize"):
                # Not the name of a container image.
                if start in words and "docker" not in words and "-t" not in words:
                    commands.append(words[words.index(start) + 1 :])
    return commands


def options_of(words):
    """Return each option with its value."""
    options = []
    for word in words:
        options += [(word,)] if word.startswith("--") else [(*options.pop(), word)]
    return options


def test_documented_commands_are_accepted(generated, monkeypatch, tmp_path):
    from lightning_colorize.training.session import check_words

    for folder in ("photos", "shards", "imagenet", "old_photos", "ROOT", "GREY", "data/general"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "tuned.yaml").write_text("{}")
    example = (DOCS / "how-to/extend.md").read_text()
    for name, block in zip(("mymodule", "mytask"), code_blocks(example, "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(block)
    (tmp_path / "mine.yaml").write_text(code_blocks(example, "yaml")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    commands = {tuple(c): path for path in DOCUMENTS for c in shell_commands(path.read_text())}
    assert len(commands) > 40
    parsers = dict(generated.parsers())
    trainings = defaultdict(dict)  # the options of all pages, by the configurations below them
    for words, path in commands.items():
        name = " ".join(words[:2]) if " ".join(words[:2]) in parsers else words[0]
        rest = list(words[len(name.split()) :])
        if name == "launch":
            _, rest = parsers[name].parse_known_args(rest)
        elif name not in ("fit", "COMMAND"):
            try:
                parsers[name].parse(rest)
            except (argparse.ArgumentError, UsageError) as error:
                pytest.fail(f"{name_of(path)}: {shlex.join(words)}: {error}")
            continue
        options = options_of(rest)
        configs = tuple(option for option in options if option[0] == "--config")
        trainings[configs] |= dict.fromkeys(options)
    lines = [[w for o in (*configs, *more) for w in o] for configs, more in trainings.items()]
    check_words(lines, here=False)


@pytest.mark.slow
def test_notebook_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "notebooks/folder_to_comparison.ipynb").read_text())
    names = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert (tmp_path / "comparison/index.html").is_file()


def test_example_of_contributing_works(monkeypatch, tmp_path):
    """As if the loss had been added; not to our package, so that no walk finds it."""
    from lightning_colorize import losses

    files = example_files()
    (tmp_path / "charbonnier.py").write_text(files["lightning_colorize/losses/charbonnier.py"])
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("charbonnier").Charbonnier
    monkeypatch.setattr(losses, "Charbonnier", cls, raising=False)

    fragment = yaml.safe_load(files["experiments/loss/charbonnier.yaml"])
    assert set(fragment["init_args"]) == set(inspect.signature(cls).parameters)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss", type=losses.Loss)
    loss = parser.instantiate(parser.parse_object({"loss": fragment})).loss
    assert loss.epsilon == fragment["init_args"]["epsilon"] != cls().epsilon

    # Called by hand: a pytest within pytest would take over its coverage and its timers.
    written = {}
    exec(files["tests/losses/test_charbonnier.py"], written)
    (test,) = (value for name, value in written.items() if name.startswith("test_"))
    (names, cases) = test.pytestmark[0].args
    for case in cases:
        test(**dict(zip(names, case, strict=True)))
    with pytest.raises(AssertionError):
        test(error=1.0, expected=0.5)


def test_oldest_versions_are_the_lower_bounds():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    oldest = {canonicalize_name(pin.name): Version(str(pin.specifier)[2:]) for pin in pins}
    bounds = {}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        (lower,) = (s.version for s in requirement.specifier if s.operator == ">=")
        bounds[canonicalize_name(requirement.name)] = Version(lower)
    assert set(oldest) == set(bounds)
    for name, bound in bounds.items():
        # 2025.1 is met by 2025.1.10, where there is no older one.
        assert oldest[name].release[: len(bound.release)] == bound.release, name


def test_image_contains_the_files_of_the_package():
    """The Dockerfile and .dockerignore name the files of the wheel."""
    copied = set(re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    copied = {name for names in copied for name in names.split()}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    needed = {*wheel["targets"]["wheel"]["packages"]}
    needed |= set(wheel["targets"]["wheel"]["force-include"])
    needed |= {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
    assert copied == sent == needed


FORBIDDEN = {
    "an absolute path of a machine": r"(?<![\w.])/(?:root|work|mnt|Users)/\w|/home/[a-z]\w*/",
    "the package by name from an index": r"pip install '?lightning[-_]colorize",
    "a registry's address": r"pypi\.org|pythonhosted|download\.pytorch\.org/whl|index-url\b",
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_tracked_files_contain_no(kind):
    matches = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "ignore")
        if path != Path(__file__) and (match := re.search(FORBIDDEN[kind], text)):
            matches.append(f"{name_of(path)}: {match.group()}")
    assert not matches
