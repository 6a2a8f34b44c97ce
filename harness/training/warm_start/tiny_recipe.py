"""Recipe of the tiny start policies: one for each interface and seed (about 40 minutes on one core each).

    python -m harness.training.warm_start.tiny_recipe natural-0

Two things are taught. Skill: copying names from questions into queries and from passages into answers, on episodes
most of which have their names replaced by others, so that it works for entities never asked for; keeping count;
comparing numbers. Habits: a mixture in which bad decisions (answer from memory, trust the expert, stop early, revise at
random) are common, so that RL has something to choose, and every operator is called. Reviews are asked for
independently of whether the answer is right. The results (weights in bfloat16) ship in `harness/policy/assets/`.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from harness.env.prompts.chat import ChatFormat
from harness.paths import cache_folder
from harness.policy.load import SHIPPED_START, shipped_chat, start_file
from harness.policy.tiny import new_model
from harness.runs.staging import staged_files
from harness.training.warm_start.copying import learn_to_copy
from harness.training.warm_start.imitation import imitate
from harness.training.warm_start.practice_episodes import (
    RecipePhase,
    drawn_questions,
    environments,
    scripted_episodes,
    suite_shares,
)
from harness.training.warm_start.vocabulary import make_tokenizer, name_words
from harness.training.warm_start.world_agents import MEDIOCRE, SKILLED, UNREVIEWED, Habits

TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Recipe:
    """First to copy any word; then to read, on short episodes; to keep count, on long ones; then the habits."""

    interface: str = "natural"
    habits: Habits = MEDIOCRE
    hidden: int = 128
    layers: int = 4
    heads: int = 2
    seed: int = 0
    copying: int = 1_500

    @property
    def phases(self) -> tuple[RecipePhase, ...]:
        return (
            RecipePhase("read", 6_000, 2.5e-3, 0.02, 0.2, SKILLED, suite_shares(1.0)),
            RecipePhase("count", 7_000, 2e-3, 0.02, 0.2, SKILLED, suite_shares(0.4)),
            RecipePhase("practice", 5_000, 1.5e-3, 0.02, 0.1, SKILLED, suite_shares(0.5)),
            RecipePhase("habits", 2_500, 4e-4, 0.025, 0.0, self.habits, suite_shares(0.6), renamed=0.5),
        )


def make(recipe: Recipe, chat: ChatFormat, out: Path, kept_as: Path) -> None:
    """Run the recipe, write model and tokenizer to `out` and the weights to `kept_as`; a phase whose result is in `out`
    is not repeated."""
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True)

    model = new_model(
        len(chat.tokenizer), hidden=recipe.hidden, layers=recipe.layers, heads=recipe.heads, seed=recipe.seed
    )
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(chat.tokenizer)} tokens in the vocabulary")
    rng = np.random.default_rng([recipe.seed, 20_260_201])
    settings = environments(chat, recipe.interface)
    names = name_words(chat)
    tokens = [chat.tokenizer.encode(f" {word}")[0] for word in names]

    def report(update: int, updates: int, loss: float) -> None:
        if update % 50 == 0 or update == updates:
            say(f"update {update}/{updates}: loss {loss:.4f}")

    kept = out / "copy.safetensors"
    if kept.exists():
        load_model(model, kept)
    else:
        common = chat.tokenizer.encode(": . , of is")
        learn_to_copy(
            model, tokens, common, updates=recipe.copying, learning_rate=2.5e-3, seed=recipe.seed, report=report
        )
        save_phase(model, kept)
    for phase in recipe.phases:
        chosen = drawn_questions(phase, rng)
        seed = int(rng.integers(2**31))
        kept = out / f"{phase.name}.safetensors"
        if kept.exists():
            load_model(model, kept)
            say(f"{phase.name}: done before")
            continue
        episodes = scripted_episodes(phase, settings, chosen, seed, names)
        say(f"{phase.name}: {len(episodes)} episodes, {sum(t.n_tokens for t in episodes):,} tokens")

        imitate(
            model, episodes, learning_rate=phase.learning_rate, tokens_per_update=phase.tokens_per_update,
            tokens_per_microbatch=2_048, autocast=False, seed=recipe.seed, context_weight=phase.context_weight,
            report=report,
        )  # fmt: skip
        save_phase(model, kept)
    with staged_files(out, "config.json") as built:
        model.to(torch.bfloat16).save_pretrained(built)
        chat.tokenizer.save_pretrained(built)
    save_phase(model, kept_as)


def save_phase(model: nn.Module, file: Path) -> None:
    """Write the weights whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_suffix(".tmp")
    save_model(model, str(staging))
    staging.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tiny start policy, and keep it where trials find it.")
    examples = "natural-0, code-2, natural-0-unreviewed"
    what = f"interface, seed and habits ({examples}); {TOKENIZER}: the tokenizer that they share, learnt again"
    parser.add_argument("start", nargs="?", default=SHIPPED_START, help=what)
    parser.add_argument("--out", type=Path, help="folder of the phases and of the result (default: in the cache)")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.start == TOKENIZER:
        make_tokenizer().tokenizer.save_pretrained(given.out or Path("runs/tokenizer"))
        return
    match = re.fullmatch(r"(natural|code)-(\d+)(-unreviewed)?", given.start)
    if match is None:
        parser.error(f"no start policy is called {given.start!r}: {examples}")
    torch.set_num_threads(given.threads)
    recipe = Recipe(match[1], UNREVIEWED if match[3] else MEDIOCRE, seed=int(match[2]))
    kept = start_file(given.start, cache_folder())
    make(recipe, shipped_chat(), given.out or kept.with_suffix(""), kept)


if __name__ == "__main__":
    main()
