"""Writes a Llama and its LoRAs as GGUF, as a worker of serve.py without rounds.

The job: model (folder), adapters (folders that PEFT can load), into (folder). The answer: the
paths of the model, in Q8_0, and of the adapters. Vocabularies are left out: ids go in and out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import safe_open

OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
INNER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Writes the files."""
    into, folder = Path(job["into"]), Path(job["model"])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    model = into / "model.gguf"
    _write_model(model, folder, config)
    adapters = []
    for place, adapter in enumerate(map(Path, job["adapters"])):
        adapters.append(str(into / f"{place}.gguf"))
        _write_adapter(Path(adapters[-1]), adapter, config)
    return {"model": str(model), "adapters": adapters}


def _name(key: str) -> str:
    """The GGUF name of a tensor of a Hugging Face Llama."""
    if key in OUTER:
        return OUTER[key]
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", key)
    if found is None or found[2] not in INNER:
        raise ValueError(f"no Llama has the tensor {key}")
    return f"blk.{found[1]}.{INNER[found[2]]}.weight"


def _turned(name: str, rows: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Queries and keys [D_out, …] in llama.cpp's order: it rotates neighbours, not halves."""
    heads = config["num_attention_heads"]
    if name.endswith("attn_k.weight"):
        heads = config.get("num_key_value_heads") or heads
    elif not name.endswith("attn_q.weight"):
        return rows
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _read(file: Path) -> Any:
    """(key, float32 array) of each tensor of a file; bfloat16 too, which NumPy does not know."""
    with safe_open(file, "np") as opened:
        keys = list(opened.keys())
    raw = file.read_bytes() if file.stat().st_size < 64 << 20 else np.memmap(file, np.uint8, "r")
    size = int.from_bytes(bytes(raw[:8]), "little")
    header = json.loads(bytes(raw[8 : 8 + size]))
    for key in keys:
        entry = header[key]
        start, stop = (8 + size + at for at in entry["data_offsets"])
        part = np.frombuffer(raw[start:stop], np.uint8)
        if entry["dtype"] == "BF16":
            wide = part.view(np.uint16).astype(np.uint32) << 16
            values = wide.view(np.float32)
        else:
            values = part.view({"F32": np.float32, "F16": np.float16}[entry["dtype"]])
        yield key, values.astype(np.float32).reshape(entry["shape"])


def _write_model(path: Path, folder: Path, config: dict[str, Any]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    rope = config.get("rope_parameters") or {}
    heads, width = config["num_attention_heads"], config["hidden_size"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    writer.add_rope_dimension_count(config.get("head_dim") or width // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    kind = gguf.GGMLQuantizationType.Q8_0
    for file in sorted(folder.glob("*.safetensors")):
        for key, values in _read(file):
            name = _name(key)
            if values.ndim == 1:
                writer.add_tensor(name, values)
            else:
                packed = gguf.quants.quantize(_turned(name, values, config), kind)
                writer.add_tensor(name, packed, raw_dtype=kind)
    _close(writer)


def _write_adapter(path: Path, folder: Path, config: dict[str, Any]) -> None:
    stated = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(stated["lora_alpha"]))
    for key, values in _read(folder / "adapter_model.safetensors"):
        layer, _, side = key.removeprefix("base_model.model.").rpartition(".lora_")
        name = _name(f"{layer}.weight")
        if side.startswith("B"):
            values = _turned(name, values, config)
        writer.add_tensor(f"{name}.lora_{side[0].lower()}", np.ascontiguousarray(values))
    _close(writer)


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
