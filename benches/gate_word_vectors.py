"""Single words through a sentence encoder: the word vectors that the request encoder starts from.

    python benches/gate_word_vectors.py FOLDER OUT

FOLDER holds all-MiniLM-L6-v2 as Hugging Face stores it. OUT becomes (words, [W, 384]): each whole
word of its WordPiece vocabulary, mean-pooled, as model2vec does it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from gate_data import say
from transformers import AutoModel, AutoTokenizer

MORE = (
    "tldr summarize summarise summarization summarisation sentiment recap synopsis gist precis "
    "abstractive nutshell pandas numpy javascript regex"
)


@torch.inference_mode()
def main() -> None:
    """Writes the vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder, local_files_only=True)
    model = AutoModel.from_pretrained(args.folder, local_files_only=True).eval()
    ranked = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [word for word, _ in ranked if re.fullmatch(r"[a-z]{2,}", word)]
    words += [word for word in MORE.split() if word not in set(words)]
    parts = []
    for start in range(0, len(words), 256):
        batch = tokenizer(words[start : start + 256], padding=True, return_tensors="pt")
        mask = batch["attention_mask"].unsqueeze(2)
        parts.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    torch.save((words, torch.cat(parts)), args.out)
    say(f"{len(words)} words")


if __name__ == "__main__":
    main()
