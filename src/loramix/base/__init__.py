"""Load a frozen base, and turn prompts into its token ids.

    base = load_base("pocket")                    # or a Hugging Face id, or a folder
    ids = encode_prompt(base, "What is 2 + 3?")

A base is a causal language model of `transformers`, with no custom code, in safetensors only.

folder.py     where it is, and whether it may be loaded
load.py       tokenizer and model, on a device that works
dtype.py      in what type the weights are held
int8.py       linear layers with int8 weights
frozen.py     the loaded base; what happens when its device fails
prompts.py    prompts → token ids
"""

from __future__ import annotations

from loramix.base.folder import fingerprint_files, pocket_path
from loramix.base.frozen import Base, DeviceWarning, device_failed, weights_hash
from loramix.base.int8 import Int8Linear, is_conv1d, to_int8
from loramix.base.load import load_base
from loramix.base.prompts import (
    Message,
    Prompt,
    as_messages,
    check_prompt,
    check_text,
    encode_example,
    encode_prompt,
)

__all__ = [
    "Base",
    "DeviceWarning",
    "Int8Linear",
    "Message",
    "Prompt",
    "as_messages",
    "check_prompt",
    "check_text",
    "device_failed",
    "encode_example",
    "encode_prompt",
    "fingerprint_files",
    "is_conv1d",
    "load_base",
    "pocket_path",
    "to_int8",
    "weights_hash",
]
