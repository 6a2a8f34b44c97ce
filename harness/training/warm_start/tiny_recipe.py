"""Recipe of the tiny start policy (about 20 minutes on one core).

    python -m harness.training.warm_start.tiny_recipe

Two things are taught at once. Skill: copying names from questions into queries and from passages into answers, on names
that never repeat (every other episode has its names replaced by random ones), so that it works on entities never seen.
Strategy: a mixture in which bad decisions (answer from memory, trust the expert, stop a hop early) are the common
ones, so that RL has something to choose. The result (weights in bfloat16, tokenizer) ships in `assets/`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.system import system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import POOLS, SearchSettings, Toolbox
from harness.operators.operator_services import world_expert, world_retriever
from harness.policy.tiny import new_model, train_tokenizer
from harness.protocol import PUBLISHED_REWARD, render_observation
from harness.tasks.world import load_world
from harness.training.warm_start.imitation import imitate
from harness.training.warm_start.name_randomization import Renamer
from harness.training.warm_start.scripted_agents import STRATEGIES, Script, ScriptedEngine, malformed, world_scripts
from harness.types import Question, Trajectory


@dataclass(frozen=True)
class RecipePhase:
    """`mixture`: share of each strategy; `malformed`: share of turns spoilt; `context_weight`: see `imitate`."""

    name: str
    episodes: int
    learning_rate: float
    malformed: float
    context_weight: float
    mixture: Mapping[str, float]


_SKILL = {"search": 0.74, "hasty": 0.04, "careful": 0.12, "voting": 0.04, "credulous": 0.04, "lazy": 0.02}


@dataclass(frozen=True)
class Recipe:
    """First the skill, by much searching; then the strategy, by a short imitation of bad decisions."""

    vocab: int = 2048
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    tokens_per_update: int = 6_000
    seed: int = 20_260_201
    phases: tuple[RecipePhase, ...] = (
        RecipePhase("skill", 24_000, 2.5e-3, 0.03, 0.2, _SKILL),
        RecipePhase("strategy", 3_000, 3e-4, 0.08, 0.0, STRATEGIES),
    )


NATURAL = NaturalInterface(compact=True)
BUDGETS = Budgets(max_calls=20, max_turns=21, max_turn_tokens=160, max_response_tokens=1200)
POOL_SHARES = {"minimal": 0.3, "review": 0.15, "revise": 0.15, "optimizer": 0.1, "full": 0.2, "search_only": 0.1}


def make_tokenizer(recipe: Recipe) -> ChatFormat:
    """Learnt from the passages, the training questions and the words the scripts and operators use."""
    world = load_world()
    rng = np.random.default_rng(recipe.seed)
    questions = world.split("train")
    texts = [f"{p.title}: {p.text}" for p in world.passages]
    texts += [questions[i].text for i in rng.choice(len(questions), 6000, replace=False)]
    spoken = [system_prompt(pool, "compact", NATURAL) + "\nsystem\nuser\nassistant\n" for pool in POOLS] + [
        "Find Capital of. Find Country of. Not found. Done. Answer is. Ask. I know. [1] [2] [3] [Answer 1] [Answer 2]"
    ]
    return ChatFormat(train_tokenizer(texts + spoken * 500, recipe.vocab))


def environments(chat: ChatFormat) -> dict[str, Environment]:
    """The environment of each pool in `POOL_SHARES`."""
    search = SearchSettings(top_k=2, snippet_chars=220)
    return {
        pool: Environment(
            system_prompt(pool, "compact", NATURAL),
            chat,
            Toolbox(pool, world_expert(), world_retriever(), style="compact", search=search, observation_chars=600),
            BUDGETS,
            PUBLISHED_REWARD,
            NATURAL,
        )
        for pool in POOL_SHARES
    }


def scripted_episodes(
    phase: RecipePhase, chat: ChatFormat, questions: Sequence[Question], seed: int
) -> list[Trajectory]:
    """Play a script for each question, in a pool drawn by `POOL_SHARES`; every other one gets its names replaced."""
    rng = np.random.default_rng(seed)
    scripts = world_scripts()
    names, shares = zip(*phase.mixture.items(), strict=True)
    settings = environments(chat)
    pools = rng.choice(list(POOL_SHARES), len(questions), p=list(POOL_SHARES.values()))
    made: list[Trajectory] = []
    for pool, environment in settings.items():
        asked = [q for q, p in zip(questions, pools, strict=True) if p == pool]
        spoken: list[Script] = []
        for question in asked:
            strategy = scripts.strategies[names[int(rng.choice(len(names), p=shares))]]
            spoken.append(malformed(strategy(question, environment.operators.pool, rng), phase.malformed, rng))
        seeds = [int(s) for s in rng.integers(2**31, size=len(asked))]
        made += rollout(ScriptedEngine(chat, spoken), environment, asked, seeds, temperature=1.0)
    return [renamed(t, chat, settings, rng) if i % 2 else t for i, t in enumerate(made)]


def renamed(
    trajectory: Trajectory, chat: ChatFormat, settings: dict[str, Environment], rng: np.random.Generator
) -> Trajectory:
    """The same episode about things with random names; as it was, if the question words its name otherwise."""
    question = trajectory.question
    first = question.plan[0].subject
    if first not in question.text:
        return trajectory
    names = [s for step in question.plan for s in (step.subject, step.value)]
    rename = Renamer([n for n in names if n[0].isupper() or n[0].isdigit()], rng)
    system = chat.tokenizer.decode(trajectory.prompt_tokens, skip_special_tokens=True)
    system = system.removeprefix("system\n").partition("\nuser\n")[0]
    turns = []
    for turn in trajectory.turns:
        tokens = chat.turn(rename(turn.parsed.text))
        seen: tuple[int, ...] = ()
        if turn.observation_tokens and turn.result is not None:
            text = render_observation(rename(turn.result.text), trusted=turn.parsed.action is None)
            seen = chat.observation(text, turn_ended=True)
        turns.append(
            replace(turn, tokens=tokens, logprobs=(0.0,) * len(tokens), action_start=0, observation_tokens=seen)
        )
    prompt = chat.prompt(system, rename(question.text))
    return replace(trajectory, prompt_tokens=prompt, turns=tuple(turns))


def make(recipe: Recipe, out: Path) -> None:
    """Run the recipe, write model and tokenizer to `out`; a phase whose result is there already is not repeated."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:5.0f} s] {text}", flush=True)

    chat = make_tokenizer(recipe)
    model = new_model(
        len(chat.tokenizer), hidden=recipe.hidden, layers=recipe.layers, heads=recipe.heads, seed=recipe.seed
    )
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(chat.tokenizer)} tokens in the vocabulary")
    rng = np.random.default_rng(recipe.seed)
    questions = load_world().split("train")
    for phase in recipe.phases:
        chosen = [questions[j] for j in rng.choice(len(questions), phase.episodes)]
        seed = int(rng.integers(2**31))
        kept = out / f"{phase.name}.safetensors"
        if kept.exists():
            load_model(model, kept)
            say(f"{phase.name}: done before")
            continue
        episodes = scripted_episodes(phase, chat, chosen, seed)
        say(f"{phase.name}: {len(episodes)} episodes, {sum(t.n_tokens for t in episodes):,} tokens")

        def report(update: int, updates: int, loss: float) -> None:
            if update % 50 == 0 or update == updates:
                say(f"update {update}/{updates}: loss {loss:.4f}")

        imitate(
            model, episodes, learning_rate=phase.learning_rate, tokens_per_update=recipe.tokens_per_update,
            tokens_per_microbatch=4_096, autocast=False, seed=recipe.seed, context_weight=phase.context_weight,
            report=report,
        )  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        save_model(model, str(kept))
    model.to(torch.bfloat16).save_pretrained(out)
    chat.tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny start policy (phases, then model and tokenizer).")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe"))
    make(Recipe(), parser.parse_args().out)


if __name__ == "__main__":
    main()
