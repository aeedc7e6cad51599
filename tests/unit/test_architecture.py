"""The one-way order of the package's modules, held by reading their imports."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import diffgeo

ROOT = Path(diffgeo.__file__).parent
REPOSITORY = ROOT.parents[1]

# a module may import only from itself and from those before it; a folder stands for all in it that is not named
ORDER = [
    "errors",
    "ranges",
    "signals",
    "encoding",
    "files",
    "run_folders",
    "config",
    "jacobian.memory",
    "jacobian",
    "svd",
    "geometry",
    "diffusion.scheduler_fields",
    "diffusion.noise_schedule",
    "diffusion.rectified_flow",
    "diffusion.image_tokens",
    "diffusion.feature_map",
    "diffusion.editing",
    "diffusion",
    "data",
    "diffusion.models",
    "diffusion.block_listing",
    "diffusion.sampling",
    "diffusion.h_edits",
    "diffusion.direction_files",
    "metrics",
    "convergence",
    "saturation",
    "results",
    "claims",
    "session.progress",
    "session.processes",
    "session.digests",
    "session.inputs",
    "session.entries",
    "session.store",
    "session.cache",
    "session.samples",
    "session.latents",
    "session.bases",
    "session.editor",
    "session.decoder",
    "session.masks",
    "session",
    "studies.shared",
    "studies.study",
    "studies.*.settings",
    "studies.*.__init__",
    "composition",
    "report",
    "studies",
    "report.figures",
    "report.page",
    "runner.tracking",
    "runner.finish",
    "runner.durations",
    "runner.manifest",
    "runner.prepare",
    "runner.console",
    "runner.helpers",
    "runner.run",
    "runner.sweeping",
    "runner.dry_run",
    "runner",
    "api",
    "explore",
    "cli.help",
    "cli.completion",
    "cli",
    "__main__",
    "__init__",  # names of all the above, imported on first use
]

NUMERICAL = ("jacobian", "svd", "geometry", "diffusion", "data", "metrics")

FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def place(name):
    """Of a dotted module in the order: that of the longest entry that it, or a folder that it lies in, is called by."""
    parts = name.split(".")[1:] or ["__init__"]
    if len(parts) >= 2 and parts[0] == "studies" and parts[1] not in ("shared", "study"):
        layer = f"studies.*.{parts[2] if len(parts) > 2 else '__init__'}"
        return ORDER.index(layer if layer in ORDER else "studies")
    if parts == ["studies"]:  # names of `studies.study`
        return ORDER.index("studies.study")
    known = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((ORDER.index(one) for one in known if one in ORDER), None)


def area(path):
    """``svd/dense.py`` and ``svd/__init__.py`` -> ``svd``; ``errors.py`` -> ``errors``."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def module(path):
    """The dotted name of a file."""
    parts = ["diffgeo", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


@cache
def imported(path):
    """Every module that a file imports, anywhere in it; relative imports are not expected."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # "from diffgeo.diffusion.models import base" imports diffgeo.diffusion.models.base
            names |= {n if (n := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names}
    return frozenset(names)


def top_levels(path):
    return {name.split(".")[0] for name in imported(path)}


def users_of(package):
    return {path.relative_to(ROOT).as_posix() for path in FILES if package in top_levels(path)}


def test_every_module_has_its_place_in_the_order_and_no_place_is_empty():
    assert {place(name) for name in MODULES} == set(range(len(ORDER)))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_to_the_left(path):
    own = place(module(path))
    others = imported(path) & MODULES - {"diffgeo"}
    assert [name for name in others if place(name) > own] == []


def test_of_the_package_itself_only_the_version_is_imported():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "diffgeo":
                names = {alias.name for alias in node.names if f"diffgeo.{alias.name}" not in MODULES}
                assert names <= {"__version__"}, path


def defined(path):
    """Names that a module defines or imports, or that are modules of its folder."""
    names = {f"{n.rpartition('.')[2]}" for n in MODULES if n.rpartition(".")[0] == module(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


DEFINED = {module(path): defined(path) for path in FILES}
USERS = [*FILES, *(path for folder in ("tools", "benchmarks", "docs") for path in (REPOSITORY / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", USERS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_what_is_imported_is_there(path):
    """Imports inside functions, too, which no test may reach."""
    missing = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            missing += [a.name for a in node.names if a.name.startswith("diffgeo.") and a.name not in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "diffgeo":
            names = DEFINED.get(node.module, ())
            missing += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in names]
    assert missing == []


def test_no_module_imports_itself_by_a_detour():
    graph = {module(path): {n for n in imported(path) if n in MODULES} - {module(path)} for path in FILES}
    done, trail = set(), []

    def visit(name):
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        trail.append(name)
        for other in sorted(graph[name]):
            visit(other)
        trail.pop()
        done.add(name)

    for name in graph:
        visit(name)
    assert done == MODULES


def test_only_tracking_imports_wandb():
    assert users_of("wandb") == {"runner/tracking.py"}


def test_only_the_page_imports_gradio():
    assert users_of("gradio") == {f"explore/{name}.py" for name in ("app", "panels", "actions")}
    assert users_of("starlette") == {"explore/serving.py"}
    for module, user in {"app": "explore/serving.py", "serving": "cli/explore.py"}.items():
        users = {p.relative_to(ROOT).as_posix() for p in FILES if f"diffgeo.explore.{module}" in imported(p)}
        assert users == {user}


def test_only_grids_of_pictures_import_matplotlib():
    assert users_of("matplotlib") == {"report/picture_grids.py"}


def test_the_package_imports_nothing_of_tools():
    tools = {path.stem for path in (REPOSITORY / "tools").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {"training", "importing", "train"} <= tools
    assert {path.name: found for path in FILES if (found := top_levels(path) & tools)} == {}


def test_charts_are_made_by_the_toolkit_alone():
    for package in ("altair", "vl_convert"):
        assert {user.rpartition("/")[0] for user in users_of(package)} == {"report/charts"}


def test_a_studys_charts_are_drawn_from_its_result_alone():
    allowed = {
        "__future__",
        "functools",
        "typing",
        "collections",
        "collections.abc",
        "math",
        "numpy",
        "pandas",
        "torch",
    }
    for path in (ROOT / "studies").glob("*/plots.py"):
        own = f"{module(path).rpartition('.')[0]}."
        others = {n for n in imported(path) - allowed if not n.startswith(("diffgeo.report.", "diffgeo.results", own))}
        assert others <= {"diffgeo.metrics.statistics"}, path
        assert f"{own}measure" not in imported(path)


def test_no_study_is_known_by_name_outside_of_its_folder():
    names = [path.parent.name for path in (ROOT / "studies").glob("*/settings.py")]
    named = re.compile(rf"({'|'.join(names)})(_[a-z_]+)?")
    assert "discovery" in names
    shared = [p for p in FILES if p.parent in (ROOT / "studies", ROOT / "studies" / "shared")]
    assert ROOT / "studies" / "shared" / "provenance.py" in shared
    for path in [p for p in FILES if area(p) != "studies"] + shared:
        tree = ast.parse(path.read_text())
        lists = [node for node in tree.body if ast.unparse(node).startswith("__all__ = ")]
        public = {text for one in lists for text in ast.literal_eval(one.value)}
        public |= {getattr(node, "name", "") for node in tree.body}
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        other_things = {"training"} if path.name == "training_record.py" else set()  # a key of evaluation.json
        assert [word for word in words - public - other_things if named.fullmatch(word)] == [], path


def test_what_measures_knows_nothing_of_reports():
    drawing = {"plots", "page", "findings"}
    for path in (p for p in FILES if area(p) in ("studies", "session") and p.stem not in drawing):
        used = {n for n in imported(path) if n.startswith("diffgeo.report") or n.rpartition(".")[2] in drawing}
        assert used == set(), path
        assert top_levels(path).isdisjoint({"altair", "matplotlib", "jinja2", "wandb", "gradio", "hydra"}), path


def test_numerical_modules_know_nothing_of_hydra_wandb_plots_or_settings():
    foreign = {"hydra", "omegaconf", "wandb", "matplotlib", "altair", "jinja2", "gradio"}
    for path in (p for p in FILES if area(p) in NUMERICAL):
        assert top_levels(path).isdisjoint(foreign), path
        assert {n.split(".")[1] for n in imported(path) if n.startswith("diffgeo.")} <= {
            *NUMERICAL,
            "errors",
            "files",
            "ranges",
        }


def test_only_settings_and_command_lines_know_hydra():
    for package in ("hydra", "omegaconf"):
        users = {u for u in users_of(package) if not u.startswith(("config/", "composition/", "cli/"))}
        assert all(re.fullmatch(r"studies/\w+/settings\.py", user) for user in users), users


def test_geometry_knows_nothing_of_networks():
    for path in (p for p in FILES if area(p) in ("jacobian", "svd", "geometry") or p.stem == "editing"):
        assert top_levels(path).isdisjoint({"diffusers", "transformers", "torchvision"}), path


def test_only_direction_files_and_data_of_the_numerical_modules_read_or_write_our_files():
    users = {p.relative_to(ROOT).as_posix() for p in FILES if "diffgeo.files" in imported(p)}
    assert {user for user in users if user.split("/")[0] in NUMERICAL} == {"diffusion/direction_files.py"}


def at_top(path):
    return {
        (alias.name if isinstance(node, ast.Import) else node.module).split(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def test_settings_and_command_lines_import_nothing_heavy():
    light = ("errors", "ranges", "config", "encoding", "ending", "composition", "cli", "__main__")
    for path in FILES:
        in_study = area(path) == "studies" and path.stem in ("__init__", "settings", "study")
        if area(path) in light or in_study:
            assert at_top(path).isdisjoint({"torch", "diffusers", "matplotlib", "pandas", "wandb", "altair"}), path


@pytest.mark.parametrize(
    "name", ["diffgeo.studies", "diffgeo.composition", "diffgeo.cli.command", "diffgeo.session.processes"]
)
def test_importing_these_loads_no_torch(name):
    code = f"import sys, {name}; print(sorted({{'torch', 'pandas', 'matplotlib', 'altair'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_stores_keys_leave_out_no_code_that_computes():
    from diffgeo.session.digests import NO_RESULTS, makes_no_results

    assert all([*ROOT.glob(part), *ROOT.glob(f"{part}.py")] for part in NO_RESULTS), "an entry that names nothing"

    silent = {module(path) for path in FILES if makes_no_results(path.relative_to(ROOT))}
    users = {module(path): imported(path) & silent for path in FILES if module(path) not in silent}
    assert {name: used for name, used in users.items() if used} == {
        "diffgeo": {"diffgeo.api"},  # names, imported on first use
        "diffgeo.runner.run": {"diffgeo.runner.console", "diffgeo.runner.durations"},  # what is found and left
        "diffgeo.runner.manifest": {"diffgeo.report.page"},  # has the page drawn when the run is done
    }


SHAPE_NO_RESULT = {
    "accelerate": "processes: sends results from one to another",
    "filelock": "the store: whose turn it is",
    "huggingface_hub": "finds files, whose contents count",
    "hydra": "makes settings, which count themselves",
    "omegaconf": "makes settings, which count themselves",
    "platformdirs": "where the store lies",
    "psutil": "how much memory is free",
    "rich": "progress bars",
    "safetensors": "reads and writes tensors, bit by bit",
    "wandb": "is told results",
}
"""Packages that computing modules import, but whose versions the store's keys leave out, and what they are for."""


def test_the_stores_keys_hold_the_version_of_every_library_that_shapes_results():
    from diffgeo.session.digests import LIBRARIES, makes_no_results

    computing = [path for path in FILES if not makes_no_results(path.relative_to(ROOT))]
    used = set().union(*map(top_levels, computing)) - sys.stdlib_module_names - {"diffgeo"}
    assert SHAPE_NO_RESULT.keys() <= used, "an exception that nothing imports"
    packages = packages_distributions()
    counted = {name for name in used if set(packages.get(name, [name])) & set(LIBRARIES)}
    assert used - counted == SHAPE_NO_RESULT.keys()
    installed = {name for names in packages.values() for name in names}
    assert set(LIBRARIES) <= installed, "a name that no package has counts nothing"


def test_every_public_name_can_be_imported():
    for name in diffgeo.__all__:
        assert getattr(diffgeo, name).__name__ == name
    assert set(diffgeo.__all__) <= set(dir(diffgeo))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diffgeo.nonsense  # noqa: B018
