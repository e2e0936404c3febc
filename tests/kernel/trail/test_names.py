"""Names of entries: three words, declared by somebody, and none that is not."""

import ast

import pytest

from courtyard.kernel.application import Application
from courtyard.kernel.trail import AuditNames
from courtyard.kernel.workspaces.models import WorkspaceRow
from tests.services import PARTS
from tests.test_architecture import modules, place

NOTING = {"note", "note_refusal", "name_changes"}


def constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_every_name_that_is_noted_is_declared() -> None:
    """Found in the sources: a test need not come past every refusal."""
    known = AuditNames(PARTS).described
    values = {name: value for module in modules() for name, value in constants(module.tree).items()}
    violations, seen = [], set()
    for module in modules():
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NOTING):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "context"):
                continue
            argument = node.args[0] if node.args else None
            name = str(argument.value) if isinstance(argument, ast.Constant) and argument.value is not None else None
            if isinstance(argument, ast.Name):
                name = values.get(argument.id)
            if isinstance(argument, ast.Attribute):
                name = values.get(argument.attr)
            if name is None and isinstance(argument, ast.Constant):
                continue
            if name not in known:
                violations.append(f"{place(module.path, node.lineno)} notes {name or ast.unparse(node)}")
            seen.add(name)
    assert not violations, "\n".join(violations)
    assert {"accounts:session:opened", "accounts:password:changed", "workspaces:role:changed"} <= seen


def test_changes_of_rows_have_names_of_their_own() -> None:
    names = AuditNames(PARTS)
    assert names.of_change(WorkspaceRow.__table__, "updated") == "workspaces:workspace:updated"  # type: ignore[arg-type]
    assert "accounts:account:deleted" in names.described


def test_a_name_that_nobody_declares_is_refused() -> None:
    with pytest.raises(ValueError, match="no part declares"):
        AuditNames(PARTS).declared("accounts:session:stolen")


@pytest.mark.parametrize("name", ["a:b", "a:b:c:d", "A:b:c", "a:b:", "a b:c:d", "1a:b:c"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="source:subject:action"):
        AuditNames([Application(name="a", description="", audit_names={name: "Something."})])
