"""Whatever the server's own description allows or forbids, no request makes it fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from serve_process import ServerProcess, copied_library, serving

pytestmark = pytest.mark.slow

CALLS = (
    *(("POST", f"/v1/{name}") for name in ("chat/completions", "completions", "route")),
    *(("POST", f"/v1/{name}") for name in ("load_lora_adapter", "unload_lora_adapter")),
    *(("GET", f"/v1/{name}") for name in ("models", "models/{model}", "skills")),
    *(("GET", path) for path in ("/health", "/ready", "/metrics")),
)
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("openapi")
    library = copied_library(folder / "library")
    (folder / "adapters").mkdir()
    small = ("--max-tokens", "3", "--max-n", "2")
    with serving("--library", str(library), "--allow-runtime-lora", *small) as running:
        yield running


def test_every_call_is_described(server: ServerProcess) -> None:
    paths = httpx.get(server.url + "/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, calls in paths.items() for method in calls}
    assert found >= set(CALLS)


@pytest.mark.parametrize("mode", MODES, ids=["allowed", "forbidden"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_no_request_makes_the_server_fail(
    server: ServerProcess, method: str, path: str, mode: GenerationMode
) -> None:
    if mode is GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("it takes nothing that could be wrong")
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call()
        # 504 is the end of a deadline that the request set itself
        assert answer.status_code < 500 or answer.status_code == 504, answer.text

    ask()
