"""The tiny policy: a Llama-architecture model and its own vocabulary of whole words, small enough for CPU studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

from harness.env.prompts.chat import END, START

PAD = "<|pad|>"
TAGS = tuple(f"<{slash}{tag}>" for tag in ("think", "tool", "answer", "info", "code") for slash in ("", "/"))
"""Protocol tags are one token each (plain added tokens, so text may still spell them in any wrong order)."""
_PIECE = r"'s| ?\d+\.\d(?!\d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Words, numbers of at most one decimal place, punctuation, blanks: GPT-2's pieces otherwise."""
_WORD, _PART, _BYTE = -6.0, -8.0, -16.0
"""Scores of a word, of a part of words and of a byte: the longest pieces win, and any text can be spelt."""


def word_tokenizer(texts: Iterable[str], n_parts: int = 200) -> Any:
    """A tokenizer in which every word and number of `texts` is one token, with the blank before it where it stands so.
    Others are spelt by the `n_parts` commonest beginnings and endings of words, two to four letters, and bytes.
    Deterministic for given texts."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(text))
    parts: Counter[str] = Counter()
    for word in words:
        parts.update({word[:n] for n in (2, 3, 4)} | {word[-n:] for n in (2, 3, 4)})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    common = [part for part, _ in sorted(parts.items(), key=lambda p: (-p[1], p[0])) if len(part) > 1][:n_parts]
    known = set(alphabet)
    pieces = [(PAD, 0.0), (START, 0.0), (END, 0.0), *((b, _BYTE) for b in alphabet)]
    for texts_of, score in ((sorted(words), _WORD), (common, _PART)):
        pieces += [(piece, score) for piece in texts_of if piece not in known]
        known.update(texts_of)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in TAGS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)


def new_model(vocab_size: int, *, hidden: int = 128, layers: int = 4, heads: int = 2, seed: int = 0) -> Any:
    """A LlamaForCausalLM in float32, at random but for a circuit that copies (see `_start_with_induction`)."""
    from harness.engines.model_classes import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        rope_theta=_ROPE_THETA,
        attention_bias=True,
        attention_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        if layers > 1:  # it takes two
            with torch.no_grad():
                _start_with_induction(model.model, hidden, heads)
        return model


_ROPE_THETA = 100_000.0


def _start_with_induction(decoder: Any, hidden: int, heads: int) -> None:
    """Set attention to look for earlier occurrences of the last words and to copy what followed them.

    Induction heads (Olsson et al. 2022) are what reading consists of, and on text of names that never repeat a fresh
    model takes most of its training to form them. So the heads of the first layer attend one, two … tokens back, by
    their biases alone, and write a part of what they see into a subspace of their own. A head of the second looks for
    the place before which the last words stood: its keys are made of the token so many places before, its queries of
    the one that is a place nearer to the present. Every layer copies what it attends to. All of it is trained on.
    """
    size = hidden // heads
    part = min(hidden // 4, size // 2)
    frequency = _ROPE_THETA ** (-torch.arange(size // 2) / (size // 2))
    slow = torch.arange(size)[torch.arange(size) % (size // 2) >= size // 4][:part]  # rotate little over an episode
    torch.nn.init.normal_(decoder.embed_tokens.weight, std=hidden**-0.5)
    basis = torch.nn.init.orthogonal_(torch.empty(hidden, hidden))
    own = torch.cat([basis[:part], basis[-(size - part) :]])  # where no head of the first layer writes
    for layer in decoder.layers:
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            layer.self_attn.v_proj.weight[rows], layer.self_attn.o_proj.weight[:, rows] = own, own.T
    first, second = (layer.self_attn for layer in decoder.layers[:2])
    for projection in (first.q_proj, first.k_proj):
        projection.weight *= 0.2  # where to attend is up to the biases
    for projection in (first.v_proj, first.o_proj, second.q_proj, second.k_proj):
        projection.weight *= 0.05
    for head in range(min(heads, hidden // part - 1)):
        rows = slice(head * size, (head + 1) * size)
        angle = -(head + 1) * frequency
        first.k_proj.bias[rows] = torch.cat([torch.full((size // 2,), _SHARP), torch.zeros(size // 2)])
        first.q_proj.bias[rows] = _SHARP * torch.cat([torch.cos(angle), torch.sin(angle)])
        nearer, seen = (basis[(head + i) * part : (head + i + 1) * part] for i in (0, 1))
        first.v_proj.weight[rows][:part] = 3.0 * basis[:part]
        first.o_proj.weight[:, rows][:, :part] = seen.T
        gain = 3.0 if head == 0 else 1.2
        second.q_proj.weight[rows][slow] = gain * nearer
        second.k_proj.weight[rows][slow] = gain * seen


_SHARP = 4.0
"""Size of the biases by which a head attends to one place only."""
