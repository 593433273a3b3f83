"""Tokenizer and token streams for the pocket base, written once to a work folder.

    python tools/pocket/corpus.py --corpus ../shared/corpus --work build/pocket

Reads the permissive text (zstd, documents separated by a line `<|endofdoc|>`) and the text that
text.py writes; trains a byte-level BPE on a sample of both; saves `tokenizer/` and one array of
uint16 token ids for each source, with an array of uint8 beside it: how much each counts in the
loss, in percent.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import numpy as np
import text
import zstandard
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
VOCABULARY = 4096
CONTEXT = 512
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FILES: dict[str, tuple[str, float, float]] = {  # source → file, share of the tokens, MB to read
    "books": ("books.txt.zst", 0.04, 12.0),
    "stories": ("stories_children.txt.zst", 0.03, 2.0),
    "python": ("python_code.txt.zst", 0.02, 4.0),
    "tldr": ("tldr_pages.txt.zst", 0.02, 4.0),
    "peps": ("python_peps.txt.zst", 0.01, 2.0),
}
GENERATED_MB = 120.0
PLAIN, DRAWN, KNOWN = 100, 20, 100  # what a token counts: in the files, drawn by chance, known
_MARKS = re.compile(f"([{text.KNOWN}{text.DRAWN}])")


def read_documents(path: Path, megabytes: float, rng: random.Random) -> list[str]:
    """Documents of a corpus file in random order, up to a size."""
    raw = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read().decode()
    documents = [part.strip() for part in raw.split("<|endofdoc|>") if part.strip()]
    rng.shuffle(documents)
    kept, size = [], 0.0
    for document in documents:
        if size > megabytes * 1e6:
            break
        kept.append(document[:400_000])
        size += len(kept[-1])
    return kept


def make_tokenizer(sample: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE with single digits and a chat template, trained on `sample`."""
    tokenizer = Tokenizer(models.BPE())
    pattern = r"'[a-z]+| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
    )
    tokenizer.train_from_iterator(sample, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def unmark(document: str) -> tuple[str, list[tuple[int, int]]]:
    """A document without its marks, and where its known parts begin and end."""
    plain, spans, size, start = [], [], 0, 0
    for part in _MARKS.split(document):
        if part == text.KNOWN:
            start = size
        elif part == text.DRAWN:
            spans.append((start, size))
        else:
            plain.append(part)
            size += len(part)
    return "".join(plain), spans


def encode(
    tokenizer: PreTrainedTokenizerFast, documents: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The documents as one stream of ids, uint16 [tokens], and what each counts, uint8 [tokens]."""
    ids_of, counts_of = [], []
    for start in range(0, len(documents), 2000):
        parted = [unmark(document) for document in documents[start : start + 2000]]
        encoded = tokenizer(
            [plain for plain, _ in parted], add_special_tokens=False, return_offsets_mapping=True
        )
        for (_, spans), ids, offsets in zip(
            parted, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            counts = np.full(len(ids), DRAWN if spans else PLAIN, dtype=np.uint8)
            ends = np.array([end for _, end in offsets])
            for first, last in spans:
                counts[(ends > first) & (ends <= last)] = KNOWN
            body = ids[:-1] if ids and ids[-1] == 2 else ids
            ids_of.append(np.array([1, *body, 2], dtype=np.uint16))
            last_counts = counts[-1] if len(ids) else PLAIN
            counts_of.append(np.array([DRAWN, *counts[: len(body)], last_counts], dtype=np.uint8))
    return np.concatenate(ids_of), np.concatenate(counts_of)


def main() -> None:
    """Writes tokenizer, token streams and a list of what they are made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    sources: dict[str, tuple[list[str], float]] = {}
    for name, (file, share, megabytes) in FILES.items():
        sources[name] = (read_documents(args.corpus / file, megabytes, rng), share)
    total = sum(share for _, share in text.KINDS.values())
    for name, (make, share) in text.KINDS.items():
        documents, size = [], 0
        while size < GENERATED_MB * 1e6 * share / total:
            documents.append(make(rng))
            size += len(documents[-1])
        sources[name] = (documents, share)
        print(f"{name}: {len(documents)} documents, {size / 1e6:.1f} MB", flush=True)
    sample: list[str] = []
    for documents, share in sources.values():
        room = share * 12e6
        for document in documents:
            if room <= 0:
                break
            sample.append(_MARKS.sub("", document[:20_000]))
            room -= len(sample[-1])
    if (args.work / "tokenizer").exists():  # a checkpoint there knows no other
        tokenizer = AutoTokenizer.from_pretrained(args.work / "tokenizer")
    else:
        tokenizer = make_tokenizer(sample)
        tokenizer.save_pretrained(args.work / "tokenizer")
    manifest = {}
    for name, (documents, share) in sources.items():
        stream, counts = encode(tokenizer, documents)
        np.save(args.work / f"{name}.npy", stream)
        np.save(args.work / f"{name}.counts.npy", counts)
        manifest[name] = {"share": share, "tokens": len(stream), "documents": len(documents)}
        print(f"{name}: {len(stream) / 1e6:.2f}M tokens", flush=True)
    (args.work / "streams.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main()
