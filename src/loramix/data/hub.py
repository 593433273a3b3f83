"""Rows of a Hugging Face dataset: by id, or in a local folder. Never runs a dataset's code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loramix.data.files import Row
from loramix.errors import DataError, nearest


def read_dataset(dataset: str, name: str | None, split: str) -> Iterator[Row]:
    """The rows of one split; columns of class labels hold the names of the classes.

    Args:
        dataset: a hub id, a folder of data files, or a folder that `save_to_disk` wrote.
        name: which configuration, where the dataset has several.
        split: which split; `train[:100]` and the like are the `datasets` library's.

    Raises:
        DataError: there is no such dataset, configuration or split, or it cannot be reached.
    """
    import datasets

    try:
        table = _load(datasets, dataset, name, split)
    except DataError:
        raise
    except ValueError as error:
        if "corresponds to no data" not in str(error):
            raise _unloadable(dataset, error) from error
        raise DataError(
            f"The split '{split}' of '{dataset}' is empty",
            given="no rows",
            expected="at least one",
            hint="choose another split, or put rows into its file",
        ) from error
    except Exception as error:  # `datasets` raises many types: not found, offline, broken files
        raise _unloadable(dataset, error) from error
    labels = {
        column: feature
        for column, feature in table.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for number, values in enumerate(table, start=1):
        for column, feature in labels.items():
            code = values[column]
            # -1 is how datasets mark a label that is not public.
            values[column] = None if code is None or code < 0 else feature.int2str(code)
        yield Row(values, f"{dataset}, {split}, row {number}")


def _unloadable(dataset: str, error: Exception) -> DataError:
    said = str(error).strip()
    kind = type(error).__name__
    return DataError(
        f"The dataset '{dataset}' cannot be loaded",
        given=f"{kind}: {said.splitlines()[0][:200]}" if said else kind,
        hint="check its id, `name` and `split`, and the network; or download it to a folder "
        "and give that as `path`",
    )


def _load(datasets: Any, dataset: str, name: str | None, split: str) -> Any:
    folder = Path(dataset)
    saved = [folder / "dataset_dict.json", folder / "state.json"]
    if not any(file.is_file() for file in saved):
        return datasets.load_dataset(dataset, name, split=split)
    table = datasets.load_from_disk(dataset)
    if not isinstance(table, dict):
        return table
    if split not in table:
        near = nearest(split, table)
        raise DataError(
            f"{dataset}: no split '{split}'",
            given=f"splits {', '.join(table)}",
            expected=None if near is None else f"perhaps '{near}'",
            hint="name one of them: {path: …, split: …}",
        )
    return table[split]
