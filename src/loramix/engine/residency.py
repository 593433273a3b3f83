"""The skills in memory: at most so many, the least recently used out first.

A skill in memory is known by its name and the version of its files, so that one which was
replaced or removed in the library stays for the streams that began with it. Rows reserve all
skills of their mix at once and hold them until they leave; a skill that is held stays.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from loramix.errors import ResourceError
from loramix.mix import Mix, check_skills

if TYPE_CHECKING:
    from loramix.adapter import Adapter
    from loramix.base import Base
    from loramix.library import Library, Skill
    from loramix.mixed import MixedModel

Load = Callable[[Callable[[], None]], object]
"""Runs a function that takes no argument, now or in a thread of its own."""


class Resolved(NamedTuple):
    """A mix by the keys of its skills, and those of them that are read from a library."""

    weights: dict[str, float]
    skills: dict[str, Skill]


class Residents:
    """Which skills of a library are beside the base.

    Without a library they are those that `mixed` has, and none comes or goes.

    Args:
        base: the frozen base.
        mixed: the base with its skills; None where there are none.
        library: where they are read from.
        limit: how many may be in memory.
        load: runs a function that reads one; it may do so in another thread.

    Attributes:
        loads, evictions: how often a skill was read, and let go.
    """

    def __init__(
        self,
        base: Base,
        mixed: MixedModel | None,
        library: Library | None,
        limit: int,
        load: Load,
    ) -> None:
        self.base, self.mixed, self.library = base, mixed, library
        self.limit, self._load = limit, load
        self.loads = self.evictions = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()  # in memory, latest used last
        self._loading: set[str] = set()
        self._failed: dict[str, Exception] = {}
        self._held: Counter[str] = Counter()
        self._read: deque[tuple[str, Adapter | Exception]] = deque()

    @property
    def bytes(self) -> int:
        """That the skills in memory take."""
        return sum(self._sizes.values())

    def __len__(self) -> int:
        return len(self._sizes)

    def resolve(self, mix: Mix) -> Resolved:
        """The skills of a mix, in the versions that the library has now.

        Raises:
            UnknownSkillError: it names a skill that is not there.
            LibraryError: it names one that is damaged.
            ResourceError: it needs more skills than may be in memory.
        """
        if self.library is None:
            check_skills(mix, self.mixed.names if self.mixed is not None else ())
            return Resolved(dict(mix.weights), {})
        skills = self.library.skills
        self.library.check_whole(mix.weights)
        check_skills(mix, skills)
        if len(mix.weights) > self.limit:
            raise ResourceError(
                "The mix has more skills than may be in memory.",
                given=f"{len(mix.weights)} skills",
                expected=f"at most {self.limit}",
                hint="raise max_resident, or use a policy that takes fewer skills",
            )
        chosen = {key_of(skills[name]): skills[name] for name in mix.weights}
        return Resolved({key: mix.weights[skill.name] for key, skill in chosen.items()}, chosen)

    def reserve(self, skills: Mapping[str, Skill]) -> bool:
        """Hold all of these skills, and have the missing ones read; or nothing, if too few fit."""
        if len({*self._held, *self._loading, *skills}) > self.limit:
            return False
        self._held.update(skills.keys())
        for key, skill in skills.items():
            if key in self._sizes:
                self._sizes.move_to_end(key)
            elif key not in self._loading:
                self._begin(key, skill)
        return True

    def release(self, keys: Iterable[str]) -> None:
        """Let go of what `reserve` held; the skills stay until others need their place."""
        for key in keys:
            self._held[key] -= 1
            if self._held[key] <= 0:
                del self._held[key]

    def release_all(self) -> None:
        """Let go of all skills."""
        self._held.clear()

    def ready(self, keys: Iterable[str]) -> bool:
        """Whether all of these skills are in memory."""
        return all(key in self._sizes for key in keys)

    def fault(self, keys: Iterable[str]) -> Exception | None:
        """What reading one of these skills failed of, or None."""
        return next((self._failed[key] for key in keys if key in self._failed), None)

    def collect(self) -> None:
        """Put the skills that were read beside the base; between two steps."""
        while self._read:
            key, adapter = self._read.popleft()
            self._loading.discard(key)
            if not isinstance(adapter, Exception):
                try:
                    self._put(key, adapter)
                    continue
                except Exception as error:  # does not fit this base
                    adapter = error
            # without the frames that it went through: they hold whatever was there
            self._failed[key] = adapter.with_traceback(None)

    def _put(self, key: str, adapter: Adapter) -> None:
        assert self.mixed is not None
        self.mixed.add(key, adapter)
        tensors = self.mixed.parameters_of(key)
        self._sizes[key] = sum(tensor.nbytes for tensor in tensors)

    def _begin(self, key: str, skill: Skill) -> None:
        """Have a skill read; one that failed before is tried again."""
        self._failed.pop(key, None)
        while len(self._sizes) + len(self._loading) >= self.limit:
            self._evict()
        self._loading.add(key)
        self.loads += 1

        def read() -> None:
            try:
                self._read.append((key, skill.adapter(self.base)))
            except Exception as error:
                self._read.append((key, error))

        self._load(read)

    def _evict(self) -> None:
        key = next(key for key in self._sizes if not self._held[key])
        assert self.mixed is not None
        self.mixed.remove(key)
        del self._sizes[key]
        self.evictions += 1

    def clear(self) -> None:
        """Let all skills go that nobody holds."""
        for _ in range(sum(not self._held[key] for key in self._sizes)):
            self._evict()


def key_of(skill: Skill) -> str:
    """The name of a skill and of the version that its files are."""
    digest = hashlib.blake2b(repr(sorted(skill.hashes.items())).encode(), digest_size=8)
    return f"{skill.name}@{digest.hexdigest()}"
