"""What people read agrees with what is there."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import jsonargparse
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lightning_colorize.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
WITH_COMMANDS = [*DOCUMENTS, ROOT / "Dockerfile", *sorted(ROOT.glob("experiments/**/*.yaml"))]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MAIN_JOB = "pip install uv && uv run lightning-colorize fit --config experiments/quickstart.yaml"
TESTS = "pip install uv && uv run pytest"


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
    """Return what git has or would add."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def test_readme_sets_up_with_two_commands():
    assert [block.strip() for block in code_blocks(README, "bash")[:2]] == [MAIN_JOB, TESTS]
    assert "pipx install uv" in README


def test_ci_runs_the_readmes_own_test_command():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert TESTS in [line.strip() for line in lines]


def test_checks_before_a_commit_and_on_github_are_those_of_ci():
    checks = re.findall(
        r"^uv run (?:ruff|mypy|lint-imports).*$", (ROOT / ".ci/run").read_text(), re.MULTILINE
    )
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == checks
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    versions = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert {"run": ".ci/run"} in workflow["jobs"]["check"]["steps"]
    listed = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3" in c]
    assert versions == listed


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.is_file(), f"{target} is missing"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_named_experiments_are_there(path):
    named = set(re.findall(r"experiments/[\w/]+\.yaml", path.read_text()))
    placeholders = {"experiments/X.yaml"}
    if path.name == "CONTRIBUTING.md":
        placeholders |= set(example_files())
    missing = [name for name in named - placeholders if not (ROOT / name).is_file()]
    assert not missing


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_named_commands_are_there(path):
    # In running text and in code: `lightning-colorize fit`, and in the image's entry point.
    words = re.findall(r"\blightning-colorize +([a-z]+)", path.read_text())
    assert set(words) <= set(COMMANDS)


def test_readme_lists_every_command():
    first_words = [row[0].strip("`").split()[0] for row in table_rows(README, "## Commands")]
    assert sorted(first_words) == sorted(COMMANDS)


def test_readme_lists_every_system():
    named = set(re.findall(r"`(\w+)`", README.split("## The published systems")[1]))
    systems = {path.stem for path in ROOT.glob("experiments/*.yaml")} - {"base"}
    assert systems <= named


def test_readme_explains_every_metric_and_baseline():
    from lightning_colorize.metrics import BASELINES, colorization_metrics

    explained = [row[0].strip("`") for row in table_rows(README, "## Reading the numbers")]
    assert sorted(explained) == sorted(colorization_metrics())
    assert all(f"- `{name}`: " in README for name in BASELINES)


def test_readme_shows_what_a_run_leaves(finished_run):
    tree = README.split("## What a run leaves")[1].split("##")[0]
    shown = set(re.findall(r"^ {6}([\w.]+)", tree, flags=re.MULTILINE))
    left = {path.name for path in finished_run.iterdir()}
    assert left <= shown
    assert shown - left == {"wandb"}  # that run did without
    for name in re.findall(r"^ {6}(checkpoints/\S+)", tree, flags=re.MULTILINE):
        assert (finished_run / name).is_file()


@pytest.mark.parametrize("section", ["data", "model", "run"])
def test_every_key_is_documented_with_its_default(section):
    from lightning_colorize.data.module import ColorizationDataModule
    from lightning_colorize.tasks import RegressionTask
    from lightning_colorize.training.options import RunOptions

    parts = {"data": ColorizationDataModule, "model": RegressionTask, "run": RunOptions}
    parameters = dict(inspect.signature(parts[section]).parameters)
    configuration = (ROOT / "docs/configuration.md").read_text()
    documented = {}
    for names, defaults, _ in table_rows(configuration, f"### {section}"):
        keys = re.findall(r"`(\w+)(?:\.\*)?`", names)
        values = [defaults] if len(keys) == 1 else defaults.split(", ")
        documented |= dict(zip(keys, values, strict=True))
    assert set(documented) == set(parameters)
    for key in set(parameters) - {"loggers", "root", "experiment", "name"}:
        default = parameters[key].default
        if default is inspect.Parameter.empty:
            assert documented[key] == "-"
        elif inspect.isclass(default):
            assert documented[key].strip("`").rpartition(".")[2] == default.__name__
        else:
            expected = list(default) if isinstance(default, tuple) else default
            assert yaml.safe_load(documented[key]) == expected


def test_every_source_is_documented():
    from lightning_colorize.data import sources

    rows = table_rows((ROOT / "docs/data.md").read_text(), "## Sources")
    exported = {name for name in sources.__all__ if name.endswith("Source")} - {"Source"}
    assert {row[0].strip("`") for row in rows} == exported


@pytest.mark.parametrize("block", code_blocks((ROOT / "docs/data.md").read_text(), "yaml"))
def test_sources_in_the_documents_are_accepted(block):
    from lightning_colorize.data.sources import Source

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data.root", type=str)
    parser.add_argument("--data.source", type=Source)
    assert parser.parse_string(block).data.source.class_path


@pytest.fixture
def charbonnier(monkeypatch, tmp_path) -> ModuleType:
    """CONTRIBUTING's loss as if it had been added; not of our package, so no walk finds it."""
    from lightning_colorize import losses

    files = example_files()
    (tmp_path / "charbonnier.py").write_text(files["lightning_colorize/losses/charbonnier.py"])
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("charbonnier")
    monkeypatch.setattr(losses, "Charbonnier", module.Charbonnier, raising=False)
    yield module
    del sys.modules["charbonnier"]


def test_example_loss_trains_from_its_fragment(charbonnier):
    import torch

    from lightning_colorize.color import ColorBatch
    from lightning_colorize.losses import Loss

    fragment = yaml.safe_load(example_files()["experiments/loss/charbonnier.yaml"])
    signature = inspect.signature(charbonnier.Charbonnier)
    assert set(fragment["init_args"]) == set(signature.parameters)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss", type=Loss)
    loss = parser.instantiate(parser.parse_object({"loss": fragment})).loss
    assert loss.epsilon == fragment["init_args"]["epsilon"] != charbonnier.Charbonnier().epsilon
    prediction = torch.ones(1, 2, 3, 3, requires_grad=True)
    ab = torch.zeros(1, 2, 3, 3)
    loss(prediction, ColorBatch(torch.zeros(1, 1, 3, 3), ab, ["a"], target=ab)).backward()
    assert (prediction.grad > 0).all()


def test_example_test_passes(charbonnier):
    # Called by hand: a pytest within pytest would take over its coverage and its timers.
    written = {}
    exec(example_files()["tests/losses/test_charbonnier.py"], written)
    (test,) = (value for name, value in written.items() if name.startswith("test_"))
    (names, cases) = test.pytestmark[0].args
    for case in cases:
        test(**dict(zip(names, case, strict=True)))
    with pytest.raises(AssertionError):
        test(error=1.0, expected=0.5)


def test_example_keeps_the_style(tmp_path):
    for path, text in example_files().items():
        if path.endswith(".py"):
            for words in (["check", "--quiet"], ["format", "--check", "--quiet"]):
                command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", path, "-"]
                done = subprocess.run(command, input=text, cwd=ROOT, text=True, capture_output=True)
                assert done.returncode == 0, done.stdout + done.stderr


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


def test_image_holds_what_the_package_needs():
    """The Dockerfile copies all that the wheel is made of, and the daemon is given it."""
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
    "a registry's address": r"pypi\.org|pythonhosted|download\.pytorch\.org/whl|index-url\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_files_hold_no(what):
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "ignore")
        if path != Path(__file__) and (match := re.search(FORBIDDEN[what], text)):
            found.append(f"{name_of(path)}: {match.group()}")
    assert not found
