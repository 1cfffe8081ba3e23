"""House rules that a machine can check: sizes, names, a README per room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("src", "worlds", "nano", "benchmarks", "recipes") for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN_NAMES = {"utils", "util", "misc", "helpers", "common"}
BINARY = {".safetensors", ".webp", ".png", ".mp4", ".parquet"}
MAX_BINARY_BYTES = 40_000_000
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_LOOP_LINES = 400, 60, 120


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_named(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MAX_FILE_LINES
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            limit = MAX_LOOP_LINES if path.parts[-2:] == ("training", "loop.py") else MAX_FUNCTION_LINES
            assert node.end_lineno - node.lineno < limit, f"{path}:{node.lineno} {node.name}"


def test_binaries_are_small() -> None:
    """Weights, samples and pictures: what every clone has to fetch."""
    folders = [ROOT / "src", ROOT / "samples", ROOT / "docs"]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in BINARY]
    assert sum(path.stat().st_size for path in files) <= MAX_BINARY_BYTES


@pytest.mark.parametrize("kind", ["controls", "families", "codecs"])
def test_every_room_has_a_readme(kind: str) -> None:
    rooms = [path for path in (ROOT / "src/worldtune" / kind).iterdir() if (path / "__init__.py").exists()]
    assert rooms
    assert [path.name for path in rooms if not (path / "README.md").exists()] == []


def test_no_pickle_of_untrusted_files() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True", f"{path}:{node.lineno}"


def test_extras_are_installed_from_the_checkout() -> None:
    """No index of packages has WorldTune."""
    named = [path for path in SOURCES if path.is_relative_to(ROOT / "src") and "install worldtune" in path.read_text()]
    assert named == []


def test_public_functions_have_docstrings() -> None:
    missing = []
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and ast.get_docstring(node) is None:
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert missing == []


@pytest.mark.parametrize("table", ["recipes.table", "recipes.bars"])
def test_tables_of_the_documents_are_those_of_the_results(table: str) -> None:
    checked = subprocess.run([sys.executable, "-m", table, "--check"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
