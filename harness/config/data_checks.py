"""Where a trial's questions come from: the source that `data.path` implies, and checks of what its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config.tree import find, merge, nest
from harness.config.yaml_source import Location, Node, Problem


def with_source(tree: Node) -> Node:
    """The tree with `data.source: files` where a path was given over a layer whose source is the offline world.

    Both given in one place contradict each other, which the settings' own check reports.
    """
    path, source = find(tree, "data.path"), find(tree, "data.source")
    if path is None or source is None or path.value is None or source.value != "world":
        return tree
    if path.at.source.name == source.at.source.name:
        return tree
    return merge(tree, nest(("data", "source"), Node("files", path.at, path.key_at)))


def questions_exist(tree: Node) -> list[Problem]:
    """A data folder holds questions of every suite that is evaluated (of a warm start, trained on), and passages."""
    from harness.tasks.benchmarks.folder_contents import folder_contents

    path = _folder(tree)
    if path is None:
        return []
    contents = folder_contents(Path(path.value))
    split = find(tree, "data.eval_split")
    problems = _missing(tree, "eval_suites", str(split.value if split else "test"))
    warm = find(tree, "policy.warm_start")
    if warm is not None and warm.value == "imitation":
        problems += training_questions_exist(tree)
    retriever = find(tree, "environment.search.retriever.kind")
    if not contents.has_corpus and retriever is not None and retriever.value == "bm25":
        hint = "put one there, or name a server: environment.search.retriever={kind: search_r1, url: http://…}"
        message = f"data.path: {path.value} holds no passages to search (corpus.jsonl, corpus.jsonl.gz)"
        problems.append(Problem(path.at, message, hint))
    return problems


def training_questions_exist(tree: Node) -> list[Problem]:
    """A data folder holds training questions of every suite that is trained on."""
    return _missing(tree, "train_suites", "train") if _folder(tree) is not None else []


def _folder(tree: Node) -> Node | None:
    source, path = find(tree, "data.source"), find(tree, "data.path")
    used = source is not None and source.value == "files" and path is not None
    return path if used and path is not None and isinstance(path.value, str) and Path(path.value).is_dir() else None


def _missing(tree: Node, field: str, split: str) -> list[Problem]:
    from harness.tasks.benchmarks.folder_contents import folder_contents

    path, suites = find(tree, "data.path"), find(tree, f"data.{field}")
    if path is None or suites is None or not isinstance(suites.value, list):
        return []
    contents = folder_contents(Path(path.value))
    absent = [node for node in suites.value if isinstance(node.value, str) and not contents.may_hold(split, node.value)]
    if not absent:
        return []
    held = contents.listed(split)
    names = ", ".join(str(node.value) for node in absent)
    holds = f"its {split} questions are of {', '.join(held)}" if held else f"it has no file such as mine.{split}.jsonl"
    hint = f"data.{field}=[{', '.join(held)}]" if held else None
    message = f"data.{field}: {path.value} holds no {split} questions of {names}; {holds}"
    return [Problem(_place(absent, path), message, hint)]


def _place(absent: Sequence[Node], path: Node) -> Location:
    """Where the suites are named; for those of an earlier layer than the path, the path's place."""
    later = absent[0].at.source.name == path.at.source.name or absent[0].at.source.name == "command line"
    return absent[0].at if later else path.at
