"""No text that a policy or the operator LLM reads changes by accident."""

from __future__ import annotations

import json

from tests.unit.env.policy_texts import RECORDED, hashes


def test_every_text_a_policy_reads_is_as_recorded() -> None:
    recorded, now = json.loads(RECORDED.read_text(encoding="utf-8")), hashes()
    assert [key for key in sorted({*recorded, *now}) if recorded.get(key) != now.get(key)] == []
