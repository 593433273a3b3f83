"""Fits the request encoder that ships with the package (src/loramix/gate/encoder.py).

    python benches/gate_encoder.py VECTORS [--minutes 10] [--dev] [--out src/loramix/gate/requests]

VECTORS comes from gate_word_vectors.py; what ships was fitted for 11.5 minutes of one thread.
Texts are the train rows of the shared data, and books and code of the shared corpus; reviews
(dev rows, stories, PEPs, man pages and what the shift benchmark brings) stay unseen. With --dev
every fifth line of the phrasings is kept out and measured: all choices were made on that.
"""

from __future__ import annotations

import argparse
import random
import time
import zlib
from pathlib import Path

import torch
from gate_data import say
from gate_shift_texts import corpus_texts, questions_of, rows_of

from loramix.gate.encoder import (
    ENCODED,
    WORD,
    RequestEncoder,
    Vocabulary,
    save_encoder,
)
from loramix.gate.phrasings import ALONE, bank, both, misspelt, placed, request, spoken
from loramix.gate.words import marked_words

MAIN = ("sentiment", "summarization", "math", "code", "qa")
NON_COMMERCIAL = ("dialogsum",)
"""What is shipped must be free for every use: sources whose licence forbids some stay out."""
LONGEST = 150
BATCH = 64


class Source:
    """Prompts without end, with the shares of the kinds that they ask for."""

    def __init__(self, texts, lines, described, questions, rng):
        self.texts, self.lines, self.described = texts, lines, described
        self.questions, self.rng = questions, rng
        self.kinds = list(lines)

    def text(self):
        """A text of any source, whole or a part of it."""
        rng = self.rng
        text = rng.choice(self.texts[rng.choice(list(self.texts))])
        words = text.split(" ")
        if len(words) > 110 or rng.random() < 0.3:
            size = rng.randint(4, 110)
            at = rng.randrange(max(1, len(words) - size + 1))
            words = words[at : at + size]
        if rng.random() < 0.3:  # a span is gone
            at = rng.randrange(len(words))
            words = words[:at] + words[at + rng.randint(1, 8) :] or words
        return " ".join(words)

    def bare(self, kind):
        """A text of the kind's own data, as the data has it."""
        rng = self.rng
        text = rng.choice(self.texts[kind])
        if kind == "sentiment" and rng.random() < 0.4:
            text = " ".join(rng.choice(self.texts[kind]) for _ in range(rng.randint(2, 8)))
        if kind == "qa" and rng.random() < 0.3:
            context, _, question = text.rpartition("\n")
            text = f"{question}\n{context}"
        return text

    def prompt(self):
        """A prompt and its shares."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.2:
            kind = rng.choice(MAIN)
            return self.bare(kind), {kind: 1.0}
        if draw < 0.35:
            first, second = rng.sample(MAIN, 2)
            weights, said = both(
                first,
                second,
                dict.fromkeys(MAIN) | {m: m for m in MAIN},
                rng,
                self.questions,
                self.lines,
            )
            return self._around(said), weights
        kind = rng.choice(MAIN) if draw < 0.72 else rng.choice(self.kinds)
        if rng.random() < 0.08 and kind in self.described:
            said = spoken(rng.choice(self.described[kind]), rng)
            return said, {kind: 1.0}
        said = request(kind, rng, self.questions, self.lines)
        if kind in ALONE and rng.random() < 0.7:
            return said, {kind: 1.0}
        return self._around(said), {kind: 1.0}

    def _around(self, said):
        rng = self.rng
        if rng.random() < 0.15:
            said = misspelt(said, rng)
        return placed(said, self.text(), rng)

    def _dropped(self, word, groups):
        draw = self.rng.random()
        if not groups or draw > 0.14:
            return word, groups
        return (3, groups) if draw < 0.08 else (3, ())

    def batches(self, vocabulary, count):
        """Batches without end, each of prompts of like length: padding costs time."""
        while True:
            rows, targets = self.batch(vocabulary, 6 * count)
            order = torch.tensor([len(row) for row in rows]).argsort()
            groups = list(order.split(count))
            self.rng.shuffle(groups)
            for group in groups:
                yield [rows[i] for i in group.tolist()], targets[group]

    def batch(self, vocabulary, count):
        """`count` prompts as rows of numbers, and their shares."""
        rows, targets = [], torch.zeros(count, len(self.kinds))
        for i in range(count):
            prompt, weights = self.prompt()
            words = marked_words(prompt)
            if len(words) > LONGEST:
                words = [*words[: LONGEST // 2], "<gap>", *words[-LONGEST // 2 :]]
            ids = vocabulary.ids_of(words)
            # Now and then a word is known by its letters alone, so that they learn its meaning.
            # Others are gone: no single word may be needed to see what is asked.
            rows.append([self._dropped(word, groups) for word, groups in ids])
            for kind, share in weights.items():
                targets[i, self.kinds.index(kind)] = share
        return rows, targets


def main() -> None:
    """Fits, measures on kept-out lines and texts, and writes the encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    lines, described = bank()
    kept = dict(lines)
    dev_lines = {}
    if args.dev:

        def out(line):
            return zlib.crc32(line.encode()) % 5 == 0

        kept = {k: tuple(x for x in own if not out(x)) or own for k, own in lines.items()}
        dev_lines = {k: tuple(x for x in own if out(x)) for k, own in lines.items() if k in MAIN}
    rows = {name: rows_of(name, "train", without=NON_COMMERCIAL) for name in MAIN}
    cut = {name: len(own) * 9 // 10 for name, own in rows.items()}
    texts = {name: own[: cut[name]] for name, own in rows.items()}
    texts["books"] = corpus_texts("books", 4000)
    texts["programs"] = corpus_texts("python_code", 2000)
    dev_texts = {name: own[cut[name] :] for name, own in rows.items()}
    source = Source(texts, kept, described, questions_of("train"), rng)

    words, vectors = torch.load(args.vectors)
    vectors = vectors - vectors.mean(0)
    _, _, basis = torch.pca_lowrank(vectors, WORD, center=False, niter=4)
    vectors = vectors @ basis
    vectors = vectors / vectors.pow(2).sum(1).mean().sqrt() * WORD**0.5 / 2
    signs = "\n 0 a i ! ? . , : ; ' \" ( ) [ ] { } - / + * = < > # $ % & @ ` ~ ^ |"
    marks = sorted(set(marked_words(signs)))
    vocabulary = Vocabulary([*marks, *words])
    encoder = RequestEncoder(vocabulary)
    encoder.vectors[5 + len(marks) :] = vectors
    encoder.vectors[5 : 5 + len(marks)] = torch.randn(len(marks), WORD) * 0.5
    torch.nn.init.normal_(encoder.groups.weight, std=0.02)
    torch.nn.init.normal_(encoder.special.weight, std=0.5)
    head = torch.nn.Parameter(torch.randn(len(source.kinds), ENCODED))
    params = [*encoder.parameters(), head]
    mean = torch.optim.swa_utils.AveragedModel(
        encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(params, lr=2e-3, weight_decay=0.05)
    start, step, losses = time.time(), 0, []
    batches = source.batches(vocabulary, BATCH)
    while (done := (time.time() - start) / (60 * args.minutes)) < 1:
        rate = 2e-3 * min(1, step / 100) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch, targets = next(batches)
        encoder.train()
        logits = head_logits(encoder(batch), head)
        smooth = 0.95 * targets + 0.05 / targets.shape[1]
        loss = -(smooth * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        mean.update_parameters(encoder)
        losses.append(float(loss.detach()))
        step += 1
        if step % 200 == 0:
            say(f"{step} steps, {time.time() - start:.0f} s, loss {sum(losses[-200:]) / 200:.3f}")
    encoder.load_state_dict(mean.module.state_dict())
    encoder.eval()
    if args.out:
        save_encoder(encoder, args.out)
    dev = Source(dev_texts, {**kept, **dev_lines}, {}, questions_of("train"), random.Random(7))
    for kind in MAIN:
        prompts = [
            dev._around(request(kind, dev.rng, dev.questions, dev.lines)) for _ in range(200)
        ]
        bare = [dev.bare(kind) for _ in range(200)]
        right = []
        for group in (prompts, bare):
            found = head_logits(encoder.encode(group), head).argmax(1)
            right.append(float((found == source.kinds.index(kind)).float().mean()))
        picked = head_logits(encoder.encode(prompts), head).argmax(1)
        own = source.kinds.index(kind)
        wrong = [p for p, found in zip(prompts, picked, strict=True) if found != own]
        shown = [w[:50] + "..." + w[-50:] for w in wrong[:4]]
        say(f"{kind}: unseen lines {right[0]:.3f}, bare {right[1]:.3f} {shown}")


def head_logits(features, head):
    """Cosines with each kind, sharpened."""
    unit = torch.nn.functional.normalize
    return 16.0 * unit(features, dim=1) @ unit(head, dim=1).T


if __name__ == "__main__":
    main()
