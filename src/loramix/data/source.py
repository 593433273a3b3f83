"""DataSource: where the rows of a skill come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)

KINDS = ("path", "hub", "builtin")


class DataSource(BaseModel):
    """Where rows come from: exactly one of `path`, `hub` and `builtin`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = Field(
        default=None,
        description="a .jsonl, .json, .csv, .tsv or .parquet file, or a `datasets` folder; "
        "relative to the YAML's folder",
    )
    hub: str | None = Field(
        default=None, description="a Hugging Face dataset id or a local dataset folder"
    )
    builtin: str | None = Field(default=None, description="a task that ships with loramix")
    name: str | None = Field(default=None, description="which configuration of the hub dataset")
    split: str | None = Field(
        default=None, description="which split: train, dev, validation, test, …"
    )
    limit: Annotated[int, Strict()] | None = Field(
        default=None, ge=1, description="use at most so many rows, drawn with the run's seed"
    )

    @field_validator("path")
    @classmethod
    def _against_the_yaml(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """Paths in a YAML mean the same wherever the command is run from."""
        if path is None:
            return None
        folder = (info.context or {}).get("folder")
        path = path.expanduser()
        return path if folder is None else Path(folder) / path

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> DataSource:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"needs exactly one of path, hub and builtin; it has {found}")
        if self.name is not None and self.hub is None:
            raise ValueError("`name` picks a configuration of a hub dataset; there is no `hub`")
        return self

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        if self.hub is not None:
            return f"hub dataset {self.hub}"
        return f"builtin task {self.builtin}"
