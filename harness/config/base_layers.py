"""The layers under a sweep's cells: a profile, shipped or of one's own, then the file's `fixed`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from harness.config.key_names import did_you_mean
from harness.config.tree import find, merge, nest, undot
from harness.config.yaml_source import ConfigError, Location, Node, Problem, read_file

PROFILES = Path(__file__).resolve().parent / "profiles"


def shipped_profiles() -> list[str]:
    """Names of the profiles inside the package, sorted."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def read_profile(name: str, at: Location, folders: Iterable[Path] = ()) -> Node:
    """The tree of a shipped profile, or of a YAML file: relative to one of `folders`, else to the working directory.

    Raises ConfigError at `at` for a profile that does not exist, within the file for one that cannot be read.
    """
    if name in shipped_profiles():
        return read_file(PROFILES / f"{name}.yaml", f"profiles/{name}.yaml")
    for folder in (*folders, Path()):
        if (folder / name).is_file():
            return read_file(folder / name, name)
    expected = " or ".join(repr(known) for known in shipped_profiles())
    if Path(name).suffix in (".yaml", ".yml"):
        message, hint = f"profile: there is no file {name!r}", f"a file's path, or one of {expected}"
    else:
        message, hint = f"profile must be {expected} or the path of a YAML file, not {name!r}", None
        close = did_you_mean(name, shipped_profiles())
        hint = close if close and close.startswith("did") else None
    raise ConfigError([Problem(at, message, hint)])


def profile_named_in(tree: Node | None) -> str:
    """The shipped profile that a stored configuration names, tiny where it names none.

    Never a file: a target would choose what is read.
    """
    node = find(tree, "profile") if tree is not None else None
    return node.value if node is not None and node.value in shipped_profiles() else "tiny"


def base_layers(root: Node, folder: Path, problems: list[Problem]) -> Node | None:
    """Profile, then `threads` from the resources, then `fixed`; None where there is no profile to start from.

    A name that is none stands for the one it resembles, so that the rest of the file is checked too. `folder` is the
    sweep file's, where the path of a profile starts.
    """
    profile = find(root, "profile")
    if profile is None or not isinstance(profile.value, str) or not profile.value:
        return None  # a problem of the sweep file's own checks
    name = profile.value
    try:
        tree = read_profile(name, profile.at, [folder])
    except ConfigError as error:
        problems += error.problems
        close = difflib.get_close_matches(name, shipped_profiles(), n=1)
        if not close:
            return None
        name, tree = close[0], read_profile(close[0], profile.at)
    cpus = find(root, "resources.cpus_per_worker") or find(root, "resources.cpus_per_trial")
    if cpus is not None and type(cpus.value) is int and cpus.value > 0:
        tree = merge(tree, nest(("threads",), cpus))
    fixed = find(root, "fixed")
    if fixed is not None and fixed.is_mapping:
        tree = merge(tree, undot(fixed, problems))
        for setting in ("seed", "profile"):
            given = find(fixed, setting)
            if given is not None:
                message = f"{setting} is set at the top of the file, not in fixed"
                problems.append(Problem(given.key_at or given.at, message))
    return with_identity(tree, name, Node(0, profile.at), profile.at)


def with_identity(tree: Node, profile: str, seed: int | Node, at: Location) -> Node:
    """The tree of a profile with the profile's name and a seed, which no profile holds."""
    leaf = seed if isinstance(seed, Node) else Node(seed, at)
    return merge(merge(tree, nest(("profile",), Node(profile, at))), nest(("seed",), leaf))
