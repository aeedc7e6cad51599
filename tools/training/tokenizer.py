"""A CLIP tokenizer with a small vocabulary.

Byte-pair merges are learnt on the words alone, until each of them is one token; every other text falls apart into
known pieces, at worst into bytes. So nothing is ever unknown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["byte_pairs", "write_tokenizer"]

END = "</w>"
"""Ends the last piece of a word."""
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"


def byte_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """The merges that make each word one token: always the most frequent pair, the alphabet breaking ties."""
    pieces = [[*word[:-1], word[-1] + END] for word in words]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(pair)
        for word in pieces:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == pair:
                    word[i : i + 2] = ["".join(pair)]
                i += 1
    return merges


def write_tokenizer(words: Sequence[str], folder: Path, *, length: int = 77) -> CLIPTokenizer:
    """Write ``vocab.json`` and ``merges.txt`` and load them.

    Args:
        words: those that become one token each, in lower case.
        folder: receives the files.
        length: tokens of a padded prompt.

    Returns:
        The tokenizer.
    """
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = byte_pairs(words)
    symbols = _byte_symbols()
    tokens = [*symbols, *(s + END for s in symbols), *dict.fromkeys(a + b for a, b in merges), START_TOKEN, END_TOKEN]
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n", encoding="utf-8"
    )
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": length,
        "bos_token": START_TOKEN,
        "eos_token": END_TOKEN,
        "unk_token": END_TOKEN,
        "pad_token": END_TOKEN,
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(str(folder))
    return tokenizer


def _byte_symbols() -> list[str]:
    """One printable character for each byte, as GPT-2 and CLIP write them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
