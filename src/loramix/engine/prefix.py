"""Keys and values of prompts that came before, to be used again under the same mix only.

A prompt is cut into blocks of 32 tokens. A block is known by a digest of the base, of the mix
with the versions of its skills, and of all tokens up to its end; so one that was computed under
another mix, or after other tokens, is another block.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor

from loramix.engine.cache import KeyValueStore

BLOCK = 32
Block = list[tuple[Tensor, Tensor]]


def root_of(fingerprint: str, weights: Mapping[str, float]) -> bytes:
    """The digest with which the chain of blocks of a base and a mix begins.

    Args:
        fingerprint: of the base and of how it computes.
        weights: of the mix; the names tell versions of a skill apart.
    """
    mix = sorted((name, float(weight).hex()) for name, weight in weights.items())
    return hashlib.blake2b(repr((fingerprint, mix)).encode(), digest_size=32).digest()


def chain(root: bytes, tokens: Sequence[int]) -> list[bytes]:
    """The digests of the whole blocks of `tokens`."""
    digests = []
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        block = array("q", tokens[start : start + BLOCK]).tobytes()
        root = hashlib.blake2b(root + block, digest_size=32).digest()
        digests.append(root)
    return digests


class PrefixCache:
    """Blocks of keys and values, the least recently used out first.

    Args:
        limit: bytes that they may take together; 0 keeps nothing.

    Attributes:
        bytes: that they take.
        hits: tokens that did not have to be computed again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.hits = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def fetch(self, root: bytes, tokens: Sequence[int], store: KeyValueStore, slot: int) -> int:
        """Fill the beginning of a slot with what is known of `tokens`.

        Returns:
            How many tokens were filled; at least one is left, since its logits are wanted.
        """
        if not self._blocks:
            return 0
        found = []
        for digest in chain(root, tokens[: len(tokens) - 1]):
            if digest not in self._blocks:
                break
            found.append(digest)
        self._touch(found)
        if found:
            store.fill(slot, [self._blocks[digest] for digest in found])
            self.hits += len(found) * BLOCK
        return len(found) * BLOCK

    def keep(self, root: bytes, tokens: Sequence[int], store: KeyValueStore, slot: int) -> None:
        """Keep the whole blocks of `tokens`, which stand at the beginning of a slot."""
        digests = chain(root, tokens) if self.limit else []
        for place, digest in enumerate(digests):
            if digest in self._blocks:
                continue
            block = store.read(slot, place * BLOCK, (place + 1) * BLOCK)
            if not self._make_room(_size(block), set(digests)):
                break
            self._blocks[digest] = block
            self.bytes += _size(block)
        self._touch(digests)

    def _make_room(self, size: int, spared: set[bytes]) -> bool:
        """Drop the oldest blocks until `size` fits; those of the same prompt are no price."""
        while self.bytes + size > self.limit:
            oldest = next(iter(self._blocks), None)
            if oldest is None or oldest in spared:
                return False
            self.bytes -= _size(self._blocks.pop(oldest))
        return True

    def _touch(self, digests: Sequence[bytes]) -> None:
        """Make blocks the newest; a block is newer than those after it, which need it."""
        for digest in reversed(digests):
            if digest in self._blocks:
                self._blocks.move_to_end(digest)

    def clear(self) -> None:
        """Forget all blocks."""
        self._blocks.clear()
        self.bytes = 0


def _size(block: Block) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in block)
