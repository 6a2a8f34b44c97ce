"""Printed memory plan of a sweep: `python -m harness.sweep FILE --plan [--gpus 1x80GB]`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Console

from harness.config import SweepSpec, TrialConfig
from harness.config.sweep_file import Resources
from harness.policy.logprobs import CHUNK_ELEMENTS
from harness.sweep.memory_plan.gpus import ASSUMED, RESERVED, USABLE, Gpus
from harness.sweep.memory_plan.memory import UPDATE, Component, Phase, Workload, components, peak, trained_parameters
from harness.sweep.memory_plan.shapes import shape_of
from harness.sweep.memory_plan.vllm import engine_components, share_of

PROCESS = 10**9
"""Main memory of a process with Python, torch and Ray before any model (approximate)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trial fits, and sentences that explain it."""

    fits: bool
    sentences: tuple[str, ...]


def workload(config: TrialConfig, resources: Resources, *, on_gpu: bool) -> Workload:
    """Memory-relevant settings of a trial, for one of its workers. Raises PlanError for a model of unknown shape."""
    from harness.training.prompt_room import PROMPT_TOKENS

    c, engine = config, config.engine
    positions = PROMPT_TOKENS + c.environment.max_response_tokens
    prompts = -(-c.rollout.prompts_per_step // resources.workers)
    trained_bytes = 4 if c.policy.dtype == "float32" else 2
    share, cache, engine_bytes = None, None, trained_bytes
    if engine.kind == "vllm":
        engine_bytes = {"float32": 4, "bfloat16": 2, None: trained_bytes}[engine.dtype]
        share = engine.gpu_memory_utilization if engine.placement == "colocated" else 0.0
        cache = int(engine.kv_cache_gib * 2**30) if engine.kv_cache_gib else None
    questions = c.data.eval_questions * len(c.data.eval_suites) * max(1, c.data.eval_samples)
    evaluated = min(c.data.eval_at_once, -(-questions // resources.workers))
    return Workload(
        shape=shape_of(c.policy),
        dtype_bytes=trained_bytes,
        autocast=c.update.autocast,
        lora_rank=c.policy.lora.rank if c.policy.lora else None,
        checkpointing=c.update.gradient_checkpointing,
        reference=c.objective.kl_weight > 0,
        tokens=max(c.update.tokens_per_microbatch, positions),
        episodes=max(prompts * c.rollout.group_size, evaluated),
        positions=positions,
        workers=resources.workers,
        engine_share=share,
        engine_cache=cache,
        engine_bytes=engine_bytes,
        chunk=CHUNK_ELEMENTS["cuda" if on_gpu else "cpu"],
    )


def judge(w: Workload, gpus: Gpus, gpus_per_worker: float) -> Verdict:
    """Whether a worker fits on its GPU (or its fraction of one)."""
    room = int(USABLE * gpus.size * min(1.0, gpus_per_worker or 1.0))
    found = on_gpus(w, gpus)
    need, phase = peak(found)
    largest = max((c for c in found if phase in c.phases), key=lambda c: c.size)
    sentences = []
    workers_there = int(gpus.count / gpus_per_worker) if 0 < gpus_per_worker < 1 else gpus.count
    enough = workers_there >= w.workers
    if not enough:
        sentences.append(f"does not fit: a trial of {w.workers} workers, and room for {workers_there} on {gpus}")
    served = not w.engine_share or share_of(w, gpus).tokens >= w.positions
    if not served:
        sentences.append("does not fit: vLLM's share of the GPU does not hold the weights and one episode")
    if need <= room:
        sentences.append(
            f"{gb(need)} of {gb(room)} usable on each GPU at the peak ({phase.value}): {gb(room - need)} left"
        )
    else:
        sentences.append(
            f"does not fit: {gb(need)} at the peak ({phase.value}), and {gb(room)} usable on each GPU;"
            f" most of it is {largest.name} ({gb(largest.size)})"
        )
        sentences += hints(w, gpus, room)
    return Verdict(need <= room and enough and served, tuple(sentences))


def on_gpus(w: Workload, gpus: Gpus) -> list[Component]:
    """Everything a worker holds on a GPU, including vLLM's share and memory that torch reserves without using it.

    The latter counts during updates only: it is returned before vLLM wakes.
    """
    found = components(w)
    size = int(RESERVED * max(sum(c.size for c in found if phase in c.phases) for phase in UPDATE))
    reserved = Component("reserved", size, UPDATE, f"freed and kept by torch: {RESERVED:.0%} of the update")
    return [*found, *engine_components(w, gpus), reserved]


def main_memory(w: Workload) -> str:
    """One line on the main memory that a trial of several workers needs."""
    trained, moments = trained_parameters(w)
    whole, kept = w.shape.parameters * w.dtype_bytes, 3 * trained * moments
    return (
        f"main memory: {gb(whole)} for each worker at the start (the policy, until it is sharded);"
        f" {gb(kept)} for rank 0 while it writes a checkpoint"
    )


def hints(w: Workload, gpus: Gpus, room: int) -> list[str]:
    """Single changes that would make it fit."""
    changes = [
        ("update.gradient_checkpointing=true", replace(w, checkpointing=True)),
        (f"update.tokens_per_microbatch={w.positions}", replace(w, tokens=w.positions)),
        ("engine.kind=vllm on GPUs of its own", replace(w, engine_share=0.0)),
        ("policy.lora={rank: 16, alpha: 32.0}", replace(w, lora_rank=16)),
        *((f"resources.workers={n}", replace(w, workers=n)) for n in (2, 4, 8, 16) if n > w.workers),
    ]
    fitting = [name for name, other in changes if other != w and peak(on_gpus(other, gpus))[0] <= room]
    return (
        [f"any of these alone would make it fit: {'; '.join(fitting)}"]
        if fitting
        else ["no single known change makes it fit"]
    )


def show_plan(console: Console, spec: SweepSpec, gpus: Gpus | None) -> bool:
    """Print the plan of every distinct workload of a sweep; whether all fit (True without GPUs to compare with)."""
    resources = spec.file.resources
    groups: dict[Workload, list[str]] = {}
    for axes, config in spec.cells:
        arm = ", ".join(f"{k.rpartition('.')[2]}={v}" for k, v in axes.items()) or spec.name
        on_gpu = gpus is not None or config.engine.kind == "vllm"
        named = groups.setdefault(workload(config, resources, on_gpu=on_gpu), [])
        if arm not in named:
            named.append(arm)
    fits = True
    for w, arms in groups.items():
        _print_line(console, f"{'; '.join(arms[:6])}{' …' if len(arms) > 6 else ''}")
        there = gpus or (ASSUMED if w.engine_share is not None else None)

        def held(w: Workload, there: Gpus | None = there) -> list[Component]:
            return components(w) if there is None else on_gpus(w, there)

        for row in _rows(held(w)):
            _print_line(console, row)
        need, phase = peak(held(w))
        each = "each worker" if w.workers > 1 else "the trial"
        _print_line(console, f"peak: {gb(need)} for {each}, during: {phase.value}")
        other = replace(w, checkpointing=not w.checkpointing)
        how = "with" if other.checkpointing else "without"
        _print_line(console, f"{how} gradient checkpointing: {gb(peak(held(other))[0])}")
        if w.workers > 1:
            _print_line(console, main_memory(w))
        if gpus is not None:
            verdict = judge(w, gpus, resources.gpus)
            fits &= verdict.fits
            _print_line(
                console, f"{'fits' if verdict.fits else 'DOES NOT FIT'} on {gpus}: " + "; ".join(verdict.sentences)
            )
        elif w.engine_share is not None:
            _print_line(
                console, f"no GPU here: planned for one of {gb(ASSUMED.size)}; --gpus 1x80GB checks whether it fits"
            )
        else:
            _print_line(
                console, f"no GPU here: on CPU, add about {gb(PROCESS)} a process; --gpus 1x80GB plans for GPUs"
            )
        _print_line(console, "")
    return fits


def _rows(found: list[Component]) -> list[str]:
    rows = [("component", "size", "held during", "what")]
    for c in found:
        when = "everything" if len(c.phases) == len(Phase) else ", ".join(p.value for p in Phase if p in c.phases)
        rows.append((c.name, gb(c.size), when, c.what))
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    return [f"  {n:<{wide[0]}}  {size:>{wide[1]}}  {when:<{wide[2]}}  {what}" for n, size, when, what in rows]


def gb(size: float) -> str:
    """Bytes as text: 512 MB, 14.2 GB (powers of ten)."""
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
