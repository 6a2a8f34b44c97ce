"""Train/test leakage: ids, normalised text and near copies, against brute force."""

from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.scoring import normalize_answer
from harness.tasks.benchmarks import find_leaks
from harness.tasks.benchmarks.leaks import NEAR
from harness.types import Question


def ask(key: str, text: str) -> Question:
    return Question(key, text, ("x",), "nq")


def test_same_ids_same_texts_and_near_copies_are_told_apart() -> None:
    test = [ask("t1", "Who wrote the long novel about a white whale?"), ask("t2", "When was it?")]
    train = [
        ask("t1", "something else"),
        ask("a", "who WROTE long novel about white whale"),
        ask("b", "who wrote the very long novel about a white whale"),
        ask("c", "who wrote the very long sad novel on a white whale hunt"),
        ask("d", "how old is the moon"),
    ]
    found = {(leak.train, leak.test, leak.kind, round(leak.similarity, 2)) for leak in find_leaks(train, test)}
    assert found == {("t1", "t1", "id", 1.0), ("a", "t1", "text", 1.0), ("b", "t1", "near", 0.88)}


_texts = st.lists(st.lists(st.sampled_from("bcdefghijklm"), max_size=12).map(" ".join), max_size=12)


@given(_texts, _texts)
def test_near_copies_are_exactly_those_of_brute_force(train_texts: list[str], test_texts: list[str]) -> None:
    train = [ask(f"a{i}", t or "z") for i, t in enumerate(train_texts)]
    test = [ask(f"b{i}", t or "y") for i, t in enumerate(test_texts)]

    def jaccard(a: Question, b: Question) -> float:
        x, y = (set(normalize_answer(q.text).split()) for q in (a, b))
        return len(x & y) / len(x | y) if x | y else 0.0

    expected = {a.id: best for a in train if (best := max((jaccard(a, b) for b in test), default=0)) >= NEAR}
    assert {leak.train: leak.similarity for leak in find_leaks(train, test)} == expected


def test_the_boundary_of_eighty_percent_counts_for_every_length() -> None:
    for n in range(5, 101, 5):  # floating point would lose some: 0.8 * 35 > 28
        words = [f"w{i}" for i in range(n)]
        test, train = [ask("t", " ".join(words))], [ask("a", " ".join(words[: n * 4 // 5]))]
        assert [leak.kind for leak in find_leaks(train, test)] == ["near"]


def test_progress_is_told_and_empty_sides_are_harmless() -> None:
    heard: list[int] = []
    assert find_leaks([ask("a", "b"), ask("c", "d")], [], heard.append) == ()
    assert heard == [1, 2]
    assert find_leaks([], [ask("a", "b")]) == ()
