"""`loramix train`: what the YAML gets wrong is told before anything heavy is loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loramix.config import Config, load_config
from loramix.errors import UnknownSkillError, nearest


def train(
    config: Path,
    *,
    skills: Sequence[str] | None = None,
    library: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train the skills of a YAML, score them, fit the gate, and write all of it at once.

    Stopped and called again, it goes on from its latest checkpoint. Skills of the library that
    are not trained stay as they are, and the gate learns to tell the new ones from them.

    Args:
        config: the YAML.
        skills: only these of it; None is all.
        library: the folder that receives them, instead of the one that the YAML names.
        device: see `load_base`.

    Returns:
        `skills.NAME` with `base`, `skill` and `routed` scores, `gain` over the base with its 95 %
        interval, `dev_loss`, `steps`, `tokens`, `seconds`; `blends.NAME` with the `score` of its
        held-out rows under its mix, `interval` and `n`; `gate.accuracy`; `library`,
        `generation`, `training` (the folder of the loss curves), `seconds`, `peak_rss_mb`.

    Raises:
        ConfigError, DataError: the YAML or its data cannot be used; nothing was done.
        UnknownSkillError: a name that the YAML does not have.
        LibraryError, AdapterMismatchError: the folder holds something else, or was made for
            another base.
        ResourceError: too little memory, said before the start.
        Interrupted: Ctrl-C; run it again to go on.
    """
    start = time.monotonic()
    settings = load_config(config)
    names = _chosen(settings, skills)
    folder = (library or settings.library).resolve()
    from loramix.commands.training import train_library  # torch and more: seconds

    return train_library(settings, names, folder, device=device, start=start)


def _chosen(settings: Config, skills: Sequence[str] | None) -> list[str]:
    for name in skills or ():
        if name not in settings.skills:
            near = nearest(name, settings.skills)
            raise UnknownSkillError(
                f"The YAML has no skill '{name}'.",
                expected=", ".join(settings.skills),
                hint=f"did you mean '{near}'?"
                if near
                else "name one of them, or leave out --skill",
            )
    return [name for name in settings.skills if not skills or name in skills]
