"""The identity of the code: it sees every edit that can change numbers, and no move."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from harness.config.code_version import _HARNESS, _Modules, _written, code_version


def version(root: Path) -> str:
    code_version.cache_clear()
    return code_version(root)


@pytest.fixture
def package(tmp_path):
    """A package whose module `maths` has ten importers, by every form of import there is."""
    root = tmp_path / "pkg"
    (root / "core").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "core" / "__init__.py").write_text(
        '"""Core."""\nfrom pkg.core.maths import double\n\n__all__ = ["double"]\n'
    )
    (root / "core" / "maths.py").write_text("def double(x):\n    return 2 * x\n\n\nHALF = 0.5\n")
    (root / "core" / "other.py").write_text("def double(x):\n    return x + x + 1\n")
    forms = [
        "from pkg.core.maths import double\n\nY = double(1)\n",
        "from pkg.core import double\n\nY = double(2)\n",
        "from pkg.core import maths\n\nY = maths.double(3)\n",
        "from pkg.core import maths as m\n\nY = m.HALF\n",
        "import pkg.core.maths as m\n\nY = m.double(4)\n",
        "def f():\n    from pkg.core.maths import HALF\n\n    return HALF\n",
        "import os\n\nfrom pkg.core.maths import HALF, double\n\nY = os.sep, HALF, double(5)\n",
        "from pkg.core.maths import double as twice\n\nY = twice(6)\n",
        'TRIAL = "pkg.core.maths:double"\n',
        "from pkg.core.maths import HALF\nfrom pkg.user0 import Y\n\nZ = Y + HALF\n",
    ]
    for i, form in enumerate(forms):
        (root / f"user{i}.py").write_text(form)
    return root


def test_a_moved_module_with_ten_importers_keeps_the_version(package):
    before = version(package)
    (package / "lib" / "deep").mkdir(parents=True)
    (package / "lib" / "__init__.py").write_text('"""Library."""\n')
    shutil.move(package / "core" / "maths.py", package / "lib" / "deep" / "arithmetic.py")
    for path in package.rglob("*.py"):
        text = path.read_text().replace("pkg.core.maths", "pkg.lib.deep.arithmetic")
        text = text.replace("from pkg.core import maths as m", "from pkg.lib.deep import arithmetic as m")
        text = text.replace("from pkg.core import maths", "from pkg.lib.deep import arithmetic")
        path.write_text(text.replace("maths.double", "arithmetic.double"))
    shutil.move(package / "user3.py", package / "lib" / "user_three.py")
    assert version(package) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("core/maths.py", "2 * x", "3 * x"),
        ("core/maths.py", "0.5", "0.25"),
        ("user0.py", "pkg.core.maths", "pkg.core.other"),
        ("core/__init__.py", "pkg.core.maths", "pkg.core.other"),
        ("user2.py", "import maths", "import other as maths"),
        ("user4.py", "pkg.core.maths", "pkg.core.other"),
        ("user6.py", "import os", "import posixpath as os"),
        ("user7.py", "double as twice", "HALF as twice"),
        ("user8.py", "pkg.core.maths:double", "pkg.core.maths:HALF"),
    ],
)
def test_an_edit_that_can_change_numbers_changes_the_version(package, file, old, new):
    before = version(package)
    path = package / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert version(package) != before


def test_the_version_ignores_comments_and_sees_code_and_assets(tmp_path):
    module = tmp_path / "policy.py"
    module.write_text('"""Doc."""\nX = 1\n')
    asset = tmp_path / "policy" / "w.safetensors"
    asset.parent.mkdir()
    asset.write_bytes(b"weights")
    seen = []
    for write in (
        lambda: None,
        lambda: module.write_text('"""Other doc."""\nX = 1  # why\n\n"""Of X."""\n'),
        lambda: module.write_text("X = 2\n"),
        lambda: asset.write_bytes(b"weightz"),
        lambda: (tmp_path / "evaluate.py").write_text("DOOR = 1\n"),
    ):
        write()
        seen.append(version(tmp_path))
    assert seen[0] == seen[1] != seen[2] != seen[3] == seen[4]


def test_the_version_covers_the_modules_that_make_the_numbers():
    covered = _Modules(_HARNESS).trees
    for name in ("objectives.loss", "env.rollout", "protocol.parse", "training.update", "policy.logprobs", "types"):
        assert f"harness.{name}" in covered
    assert not any(name.startswith(("harness.sweep", "harness.tracking")) for name in covered)


def test_fields_that_only_newer_versions_of_python_have_do_not_count_while_they_are_empty(package):
    class FunctionDef(ast.FunctionDef):
        _fields = (*(f for f in ast.FunctionDef._fields if f != "type_params"), "type_params")

    modules = _Modules(package)
    (known,) = ast.parse("def f(x: int = 1) -> int:\n    return x\n").body
    newer = FunctionDef(**{**dict(ast.iter_fields(known)), "type_params": []})
    assert _written(newer, modules, {}) == _written(known, modules, {})
    newer.type_params = [ast.Name("T")]
    assert _written(newer, modules, {}) != _written(known, modules, {})
