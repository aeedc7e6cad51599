"""The one-way order of the package's modules, held by reading their imports."""

import ast
from pathlib import Path

import pytest

import diffgeo

ROOT = Path(diffgeo.__file__).parent

# a module may import only from itself and from those before it
ORDER = [
    "errors",
    "files",
    "ending",
    "config",
    "scheduler_fields",
    "noise_schedule",
    "memory",
    "feature_map",
    "transposable",
    "jacobian",
    "svd",
    "convergence",
    "geometry",
    "editing",
    "data",
    "models",
    "sampling",
    "directions",
    "metrics",
    "claims",
    "results",
    "progress",
    "store",
    "team",
    "tracking",
    "report",
    "studies",
    "finishing",
    "runner",
    "encoding",
    "sweeping",
    "planning",
    "help",
    "completion",
    "cli",
    "words",
    "paper",
    "gathering",
    "store_command",
    "report_command",
    "explore",
    "explore_command",
    "__main__",
    "__init__",  # imports lazily, for type checkers only
]

FIELDS = ORDER[ORDER.index("scheduler_fields") : ORDER.index("data")]
NUMERICAL = [*FIELDS, "data", "models", "sampling", "metrics"]

FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def area(path):
    """``svd/dense.py`` and ``svd/__init__.py`` -> ``svd``; ``errors.py`` -> ``errors``."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def module(path):
    """The dotted name of a file."""
    parts = ["diffgeo", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


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
    return names


def top_levels(path):
    return {name.split(".")[0] for name in imported(path)}


def users_of(package):
    return {path.relative_to(ROOT).as_posix() for path in FILES if package in top_levels(path)}


def test_every_module_has_its_place_in_the_order():
    assert {area(path) for path in FILES} <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_to_the_left(path):
    own = ORDER.index(area(path))
    inner = {name.split(".")[1] for name in imported(path) if name.startswith("diffgeo.")}
    assert [name for name in inner if ORDER.index(name) > own] == []


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
    assert users_of("wandb") == {"tracking.py"}


def test_only_the_page_imports_gradio():
    assert users_of("gradio") == {"explore/app.py"}
    assert users_of("starlette") == {"explore/serving.py"}
    for module, user in {"app": "explore/serving.py", "serving": "explore_command.py"}.items():
        users = {p.relative_to(ROOT).as_posix() for p in FILES if f"diffgeo.explore.{module}" in imported(p)}
        assert users == {user}


def test_only_figures_import_matplotlib():
    users = users_of("matplotlib")
    assert "report/figures/style.py" in users
    assert all(u.startswith("report/figures/") for u in users)


def test_the_package_imports_nothing_of_tools():
    tools = {path.stem for path in (ROOT.parents[1] / "tools").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {"training", "importing", "train"} <= tools
    assert {path.name: found for path in FILES if (found := top_levels(path) & tools)} == {}


def test_charts_are_made_by_the_toolkit_alone():
    for package in ("altair", "vl_convert"):
        assert users_of(package) == {"report/charts/toolkit.py"}
    for path in (ROOT / "report" / "charts").glob("*.py"):
        if path.stem not in ("__init__", "toolkit"):
            assert imported(path) <= {"__future__", "typing", "pandas", "diffgeo.report.charts"}, path


def test_numerical_modules_know_nothing_of_hydra():
    for package in ("hydra", "omegaconf"):
        assert {u for u in users_of(package) if Path(u).parts[0].removesuffix(".py") in NUMERICAL} == set()
        assert {u for u in users_of(package) if not u.startswith("config/")} <= {"cli.py", "paper.py"}


def test_geometry_knows_nothing_of_networks():
    for name in ("jacobian", "svd", "geometry", "editing"):
        for path in (p for p in FILES if area(p) == name):
            assert top_levels(path).isdisjoint({"diffusers", "transformers", "torchvision"}), path


def test_the_settings_import_nothing_heavy():
    for path in (p for p in FILES if area(p) in ("errors", "config", "encoding", "cli", "help", "completion", "words")):
        at_top = {
            (alias.name if isinstance(node, ast.Import) else node.module).split(".")[0]
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert at_top.isdisjoint({"torch", "diffusers", "matplotlib", "pandas", "wandb"}), path


def test_the_stores_keys_leave_out_no_code_that_computes():
    from diffgeo.session.store import NO_RESULTS

    assert all((ROOT / part).is_dir() or (ROOT / part).with_suffix(".py").is_file() for part in NO_RESULTS)

    def left_out(path):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        return any(name == part or name.startswith(f"{part}/") for part in NO_RESULTS)

    silent = {module(path) for path in FILES if left_out(path)}
    users = {module(path): imported(path) & silent for path in FILES if not left_out(path)}
    # the runner draws the page of a run that is done
    assert {name: used for name, used in users.items() if used} == {"diffgeo.runner": {"diffgeo.report.page"}}


def test_every_public_name_can_be_imported():
    for name in diffgeo.__all__:
        assert getattr(diffgeo, name).__name__ == name
    assert set(diffgeo.__all__) <= set(dir(diffgeo))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diffgeo.nonsense  # noqa: B018
