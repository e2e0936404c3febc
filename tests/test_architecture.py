"""The layout of the repository, as far as the import contracts in `pyproject.toml` cannot say it."""

import ast
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

# Parts of the kernel that serve the others and are cut as their work asks. Every other package is a feature.
INFRASTRUCTURE = {
    "backup",
    "database",
    "events",
    "http",
    "limits",
    "mail",
    "openid",
    "pictures",
    "realtime",
    "storage",
    "tasks",
    "relocation",
    "shards",
    "telemetry",
    "trail",
}
FEATURE_FILES = {
    "__init__",
    "cli",
    "errors",
    "events",
    "limits",
    "mails",
    "models",
    "permissions",
    "queries",
    "quotas",
    "routes",
    "rules",
    "schemas",
    "service",
    "sockets",
    "store",
    "tasks",
}
# What a feature implements for a layer below it, under the name of the interface.
ADAPTERS = {"workspaces": {"identity"}}
FEATURE_FOLDERS = {"migrations", "queries", "routes", "rules", "schemas", "service", "store", "templates"}
# Where SQL is written, and where a unit of work is opened and ends.
STATEMENT_FILES = {"models", "queries", "service", "store"}
STATEMENT_PARTS = (
    "courtyard.kernel.database",
    "courtyard.kernel.events",
    "courtyard.kernel.http.idempotency",
    # Its statements are made from whatever tables there are.
    "courtyard.kernel.relocation",
)
EDGE = (
    "courtyard.cli",
    "courtyard.server",
    # What runs beside the requests, in units of work of its own.
    "courtyard.kernel.audit.tasks",
    "courtyard.kernel.webhooks.tasks",
    "courtyard.kernel.files.tasks",
    "courtyard.kernel.backup.restoring",
    "courtyard.kernel.context",
    "courtyard.kernel.database",
    "courtyard.kernel.http",
    "courtyard.kernel.realtime",
    "courtyard.kernel.relocation",
    "courtyard.kernel.tasks",
)
STATEMENTS = {"delete", "insert", "select", "text", "update"}
# What brings Alembic along, which a face would load into every server. Commands, and what prepares a start, import
# it directly.
SIDE_DOORS = {
    "courtyard.kernel.backup.cli",
    "courtyard.kernel.audit.cli",
    "courtyard.kernel.database.authoring",
    "courtyard.kernel.database.cli",
    "courtyard.kernel.database.migrations",
    "courtyard.kernel.database.migrator",
    "courtyard.kernel.mail.cli",
    "courtyard.kernel.tasks.cli",
    "courtyard.kernel.relocation.cli",
}
COMMANDS = {
    "courtyard.cli",
    "courtyard.demo",
    "courtyard.doctor",
    "courtyard.kernel.relocation.preparation",
    "courtyard.server",
    "courtyard.serving",
    "courtyard.site.preparation",
    "courtyard.working",
}
MAX_LINES = 600
CODE_SUFFIXES = {".css", ".html", ".js", ".mjs", ".py", ".sh", ".sql", ".ts", ".tsx"}
NOT_OURS = {".git", ".venv", ".hypothesis", "node_modules", "build", "dist", "results", "courtyard-data"}

LINK = re.compile(r"\[[^\]\n]*\]\(\s*<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Module:
    """A Python file of the package, under the name by which it is imported."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str | None:
        """The part of the kernel, or the application, that it belongs to; None outside of all."""
        return package_of(self.name)

    @property
    def stem(self) -> str:
        """The name of the file in its package: `queries`, or `service` for everything in `service/`."""
        assert self.package is not None
        inside = self.name.removeprefix(self.package).lstrip(".")
        return inside.split(".")[0] or "__init__"


@cache
def modules() -> list[Module]:
    found = []
    for path in sorted((SRC / "courtyard").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_bytes(), path)))
    return found


def package_of(name: str) -> str | None:
    """Return `courtyard.kernel.events` for anything in it, and None for `courtyard.kernel.clock`."""
    parts = name.split(".")
    if len(parts) < 3 or parts[1] not in {"kernel", "applications"}:
        return None
    folder = SRC.joinpath(*parts[:3])
    return ".".join(parts[:3]) if folder.is_dir() else None


def features() -> Iterator[Path]:
    for folder in ("kernel", "applications"):
        for path in sorted((SRC / "courtyard" / folder).iterdir()):
            if path.is_dir() and path.name not in INFRASTRUCTURE | {"__pycache__"}:
                yield path


def files(*suffixes: str) -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT)
        if path.suffix in suffixes and not NOT_OURS.intersection(inside.parts) and path.is_file():
            yield path


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that a module imports: `a.b.c` for `from a.b import c`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.name.split(".")
                up = node.level - (module.path.name == "__init__.py")
                base = ".".join([*own[: len(own) - up], *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


@cache
def public_names(package: str) -> frozenset[str]:
    """Return what the face of a package exports: the names in its `__all__`."""
    face = SRC.joinpath(*package.split("."), "__init__.py")
    if not face.exists():
        return frozenset()
    for node in ast.parse(face.read_bytes()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def test_a_package_is_entered_by_its_face_only() -> None:
    violations = []
    for module in modules():
        for line, target in imports(module):
            package = package_of(target)
            if package in {None, module.package, target}:
                continue
            if module.name in COMMANDS and target.rpartition(".")[0] in SIDE_DOORS:
                continue
            if target.removeprefix(f"{package}.") not in public_names(package):
                violations.append(f"{place(module.path, line)} imports {target}, which {package} does not export")
    assert not violations, "\n".join(violations)


def test_a_feature_has_the_files_that_all_features_have() -> None:
    violations = [
        str(path.relative_to(ROOT))
        for feature in features()
        for path in feature.iterdir()
        if path.name != "__pycache__"
        and path.stem not in ADAPTERS.get(feature.name, ())
        and (path.name not in FEATURE_FOLDERS if path.is_dir() else path.stem not in FEATURE_FILES)
    ]
    assert not violations, f"not a file name of a feature: {violations}"


def test_only_the_edge_commits() -> None:
    violations = [
        place(module.path, node.lineno)
        for module in modules()
        if not module.name.startswith(EDGE)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]
    assert not violations, f"commits outside the edge: {violations}"


def test_sql_is_written_in_its_own_files_only() -> None:
    violations = []
    for module in modules():
        if module.name.startswith(STATEMENT_PARTS) or (
            module.package and module.stem in STATEMENT_FILES | {"migrations"}
        ):
            continue
        for line, target in imports(module):
            library, _, name = target.rpartition(".")
            if library.split(".")[0] == "sqlalchemy" and name in STATEMENTS:
                violations.append(f"{place(module.path, line)} imports {target}")
        violations += [
            f"{place(module.path, node.lineno)} calls {ast.unparse(node.func)}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in STATEMENTS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in {"sa", "sqlalchemy"}
        ]
    assert not violations, "\n".join(violations)


def test_no_file_is_longer_than_one_can_hold_in_mind() -> None:
    violations = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in files(*CODE_SUFFIXES)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    ]
    assert not violations, "\n".join(violations)


def test_links_between_documents_lead_somewhere() -> None:
    violations = []
    for document in files(".md"):
        text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), document.read_text())
        for match in LINK.finditer(text):
            address, _, anchor = urllib.parse.unquote(match[1]).partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:", address):
                continue
            target = (document.parent / address) if address else document
            line = text.count("\n", 0, match.start()) + 1
            if not target.exists():
                violations.append(f"{place(document, line)} links to {address}, which is not there")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                violations.append(f"{place(document, line)} links to #{anchor}, which {target.name} does not have")
    assert not violations, "\n".join(violations)


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors of the headings of a document, made as code forges make them."""
    headings = HEADING.findall(FENCED.sub("", document.read_text()))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
