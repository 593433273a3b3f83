"""Fits the request encoder that ships with the package (src/loramix/gate/encoder.py).

    python benches/gate_encoder.py VECTORS [--minutes 10] [--dev] [--out src/loramix/gate/requests]

VECTORS comes from gate_word_vectors.py, or is a folder with an encoder whose vectors are kept, or
with --go-on all of it. Texts are the train rows of the shared data, books and code of the shared
corpus, reviews made of those rows, stubs of functions (gate_encoder_stubs.txt), and prose about
code: docstrings of Python's own library, and how installed packages describe themselves. Dev rows,
stories for children, PEPs, man pages and whole reviews as people write them stay unseen. With
--dev every fifth line of the phrasings is kept out and measured: all choices were made on that.
"""

from __future__ import annotations

import argparse
import collections
import random
import time
import zlib
from pathlib import Path

import torch
from gate_data import say
from gate_encoder_texts import descriptions, docstrings, framed, heads, library_stubs, stubs
from gate_shift_texts import corpus_texts, questions_of, reviews_among_stories, rows_of

from loramix.gate.encoder import (
    WORD,
    RequestEncoder,
    Vocabulary,
    read_encoder,
    save_encoder,
)
from loramix.gate.encoder import (
    framed as framed_words,
)
from loramix.gate.phrasings import (
    ALONE,
    MOST,
    bank,
    both,
    misspelt,
    placed,
    questions,
    request,
    spoken,
)
from loramix.gate.words import marked_words

MAIN = ("sentiment", "summarization", "math", "code", "qa")
NON_COMMERCIAL = ("dialogsum",)
"""What is shipped must be free for every use: sources whose licence forbids some stay out."""
LONGEST = 200
"""Words and marks of a prompt; of longer ones the middle is gone."""
BATCH = 64
TOLD = {MOST: 0.88, 1 - MOST: 0.12}
"""Shares of a request that mainly asks for one skill, drawn apart: at 0.7 and 0.3 the loss is
hardly less than at two halves, and what tells them apart is not learned."""
MARKS = (
    "{}", "{}", "{}:", "{}?", "{}!", "{}...", "[{}]", "({})", "- {}", "* {}", "# {}", "{} =",
    "> {}",
)  # fmt: skip
"""What may stand around the few words that are left of a request."""
NEAR = 0.7
"""Cosine of the vectors of two words from which one may stand for the other."""


class Source:
    """Prompts without end, with the shares of the kinds that they ask for."""

    def __init__(self, texts, lines, described, asked, rng, near=None):
        self.texts, self.lines, self.described = texts, lines, described
        self.asked, self.rng = asked, rng
        self.kinds = list(lines)
        self.heads = heads(600)
        self.near = near or {}
        self.telling = self._telling()
        self.in_pairs = {kind: own + self._named(kind) for kind, own in lines.items()}

    def _telling(self, count=800, share=0.3):
        """kind → the words of its requests that tell it from the others."""
        rng, said = random.Random(0), {}
        for kind, own in self.lines.items():
            drawn = (spoken(rng.choice(own), rng) for _ in range(count))
            said[kind] = collections.Counter(w for line in drawn for w in set(marked_words(line)))
        total = sum(said.values(), collections.Counter())

        def tells(word, times):
            return len(word) > 2 and word.isalpha() and times >= max(5, share * total[word])

        return {kind: {w for w, n in own.items() if tells(w, n)} for kind, own in said.items()}

    def _named(self, kind, share=4):
        """Requests that only name what is wanted, as the second of two often does."""
        words = "|".join(sorted(self.telling[kind]))
        named = f"(|the|a|its|some|a little|a bit of|a short|a small|a brief|any) ({words})"
        return (named,) * (len(self.lines[kind]) // share) if words else ()

    def telegram(self, kind, said):
        """What is left of a request where only the words that tell its kind are sent."""
        rng = self.rng
        words = [w for w in marked_words(said) if w in self.telling[kind]]
        if not words or "{" in said:
            return said
        size = rng.randint(1, 2)
        at = rng.randrange(max(1, len(words) - size + 1))
        left = " ".join(words[at : at + size])
        left = rng.choice((left, left, left.capitalize(), left.upper()))
        return rng.choice(MARKS).format(left)

    def text(self):
        """A text of any source, whole or a part of it."""
        rng = self.rng
        text = rng.choice(self.texts[rng.choice(list(self.texts))])
        words = text.split(" ")
        if (
            len(words) > LONGEST or rng.random() < 0.7
        ):  # half are short: the request is to be learned
            size = rng.randint(4, LONGEST if rng.random() < 0.4 else 50)
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
        draw = rng.random()
        if kind == "sentiment" and draw < 0.25:
            text = " ".join(rng.choice(self.texts[kind]) for _ in range(rng.randint(2, 8)))
        if kind == "sentiment" and draw > 0.65:
            text = self._asking(rng.choice(self.texts["reviews"]))
        if kind == "code" and draw < 0.3:
            text = rng.choice(self.texts["stubs" if draw < 0.15 else "library stubs"])
        elif kind == "code" and draw < 0.5:
            words = self.text().split(" ")[: rng.randint(6, 60)]
            text = framed(" ".join(words), rng.choice(self.heads), rng)
        if kind == "qa" and rng.random() < 0.3:
            context, _, question = text.rpartition("\n")
            text = f"{question}\n{context}"
        return text

    def _asking(self, text):
        """A text that now and then asks something in its midst, which is no request."""
        rng, sentences = self.rng, text.split(". ")
        for _ in range(rng.randint(1, 3) if rng.random() < 0.35 else 0):
            sentences.insert(rng.randrange(len(sentences)), rng.choice(self.asked))
        return ". ".join(sentences)

    def prompt(self):
        """A prompt and its shares."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.2:
            kind = rng.choice(MAIN)
            return self.bare(kind), {kind: 1.0}
        if draw < 0.5:
            first, second = rng.sample(MAIN, 2)
            weights, said = both(
                first,
                second,
                dict.fromkeys(MAIN) | {m: m for m in MAIN},
                rng,
                self.asked,
                self.in_pairs,
            )
            return self._around(said), {n: TOLD.get(s, s) for n, s in weights.items()}
        kind = rng.choice(MAIN) if draw < 0.8 else rng.choice(self.kinds)
        if rng.random() < 0.08 and kind in self.described:
            said = spoken(rng.choice(self.described[kind]), rng)
            return said, {kind: 1.0}
        said = request(kind, rng, self.asked, self.lines)
        if kind in ALONE and rng.random() < 0.7:
            return said, {kind: 1.0}
        if rng.random() < 0.15:
            said = self.telegram(kind, said)
        return self._around(said), {kind: 1.0}

    def _around(self, said):
        rng = self.rng
        if rng.random() < 0.15:
            said = misspelt(said, rng)
        return placed(said, self.text(), rng)

    def _like(self, word):
        """The word, or now and then one that means nearly the same."""
        near = self.near.get(word)
        return self.rng.choice(near) if near and self.rng.random() < 0.15 else word

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
            if self.rng.random() < 0.5:
                words = [self._like(word) for word in words]
            if len(words) > LONGEST:
                words = [*words[: LONGEST // 2], "<gap>", *words[-LONGEST // 2 :]]
            ids = vocabulary.ids_of(framed_words(words))
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
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument(
        "--go-on", action="store_true", help="VECTORS is a folder: all of that encoder is kept"
    )
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
    texts["docstrings"] = docstrings(4000)
    texts["descriptions"] = descriptions(3000)
    texts["reviews"] = reviews_among_stories(texts["sentiment"], 3000)
    texts["reviews"] += reviews_among_stories(texts["sentiment"], 3000, told=texts["books"])
    texts["stubs"] = stubs()
    texts["library stubs"] = library_stubs(3000)
    dev_texts = {name: own[cut[name] :] for name, own in rows.items()}
    dev_texts["reviews"] = reviews_among_stories(dev_texts["sentiment"], 300, seed=1)
    for name, held in (("stubs", 6), ("library stubs", 100)):
        texts[name], dev_texts[name] = texts[name][:-held], texts[name][-held:]
    asked = [*questions(), *questions_of("train")]
    encoder = begun(args.vectors, args.go_on)
    vocabulary = encoder.vocabulary
    source = Source(texts, kept, described, asked, rng, like(encoder))
    head = torch.nn.Parameter(centres(encoder, source))
    params = [*encoder.parameters(), head]
    mean = torch.optim.swa_utils.AveragedModel(
        encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(params, lr=args.rate, weight_decay=0.05)
    start, step, losses = time.time(), 0, []
    batches = source.batches(vocabulary, BATCH)
    while (done := (time.time() - start) / (60 * args.minutes)) < 1:
        rate = args.rate * min(1, step / 100) * (1 - done)
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
    dev = Source(dev_texts, {**kept, **dev_lines}, {}, asked, random.Random(7))
    for kind in MAIN:
        prompts = [dev._around(request(kind, dev.rng, dev.asked, dev.lines)) for _ in range(200)]
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


def like(encoder: RequestEncoder, most: int = 6) -> dict[str, list[str]]:
    """word → words whose vectors lie near its own, for words that have such.

    One of them in its place says nearly the same: Wang & Yang (2015), section 3.
    """
    words, found = encoder.vocabulary.words, {}
    unit = torch.nn.functional.normalize(encoder.vectors, dim=1)
    for start in range(0, len(words), 2048):
        values, places = (unit[start : start + 2048] @ unit.T).topk(most + 1)
        for i, (near, where) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            own = start + i
            close = [words[j] for v, j in zip(near, where, strict=True) if v > NEAR and j != own]
            if close and words[own].isalpha():
                found[words[own]] = [w for w in close if w.isalpha()] or [words[own]]
    return found


def begun(vectors: Path, go_on: bool = False) -> RequestEncoder:
    """An encoder with its words and their vectors; all else is as chance has it, or goes on."""
    if vectors.is_dir():
        known = read_encoder(vectors)
        if go_on:
            return known.train().requires_grad_(True)
        encoder = _by_chance(known.vocabulary)
        encoder.vectors.copy_(known.vectors)
        return encoder
    words, raw = torch.load(vectors)
    raw = raw - raw.mean(0)
    _, _, basis = torch.pca_lowrank(raw, WORD, center=False, niter=4)
    raw = raw @ basis
    raw = raw / raw.pow(2).sum(1).mean().sqrt() * WORD**0.5 / 2
    signs = "\n 0 a i ! ? . , : ; ' \" ( ) [ ] { } - / + * = < > # $ % & @ ` ~ ^ |"
    marks = sorted(set(marked_words(signs)))
    encoder = _by_chance(Vocabulary([*marks, *words]))
    encoder.vectors[5 + len(marks) :] = raw
    encoder.vectors[5 : 5 + len(marks)] = torch.randn(len(marks), WORD) * 0.5
    return encoder


def _by_chance(vocabulary: Vocabulary) -> RequestEncoder:
    encoder = RequestEncoder(vocabulary)
    torch.nn.init.normal_(encoder.groups.weight, std=0.02)
    torch.nn.init.normal_(encoder.special.weight, std=0.5)
    return encoder


def centres(encoder: RequestEncoder, source: Source, count: int = 16) -> torch.Tensor:
    """Where each kind's requests lie before the fit, [K, 128]: the head begins there."""
    made = [[request(k, source.rng, source.asked, source.lines) for _ in range(count)]
            for k in source.kinds]  # fmt: skip
    means = [encoder.eval().encode(prompts).mean(0) for prompts in made]
    encoder.train()
    return torch.stack(means).clone()


def head_logits(features, head):
    """Cosines with each kind, sharpened."""
    unit = torch.nn.functional.normalize
    return 16.0 * unit(features, dim=1) @ unit(head, dim=1).T


if __name__ == "__main__":
    main()
