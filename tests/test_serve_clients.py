"""The server answers the clients that people have: openai, LangChain, curl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from serve_process import ServerProcess, chat, serving

if TYPE_CHECKING:  # seconds of import, which those that leave the slow tests out need not wait for
    import openai

pytestmark = pytest.mark.slow

SUM = "What is 2 + 3?"
ANSWER = "2 + 3 = 5\nAnswer: 5"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> openai.OpenAI:
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_openai_gets_an_answer_and_what_made_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": SUM}]
    )
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model_extra is not None
    used = answer.model_extra["loramix"]
    assert used["mix"] == {"math": 1.0}
    assert used["router"] == "gate"
    assert sum(used["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert used["seconds"]["total"] >= used["seconds"]["first_token"] > 0


def test_the_mix_stands_in_the_header(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="code=0.5,math=0.5", messages=[{"role": "user", "content": SUM}]
    )
    assert raw.headers["x-loramix-mix"] == "code=0.5,math=0.5"
    base = client.chat.completions.with_raw_response.create(
        model="base", messages=[{"role": "user", "content": SUM}], max_tokens=4
    )
    assert base.headers["x-loramix-mix"] == "base"


@pytest.mark.parametrize("model", ["auto", "base", "math", "code=0.5,math=0.5"])
def test_a_stream_is_the_same_text(client: openai.OpenAI, model: str) -> None:
    messages = [{"role": "user", "content": SUM}]
    plain = client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=messages,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == plain.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    extra, whole = chunks[-1].model_extra, plain.model_extra
    assert extra is not None
    assert whole is not None
    assert extra["loramix"]["mix"] == whole["loramix"]["mix"]


def test_without_usage_the_last_chunk_of_a_stream_says_what_was_used(
    client: openai.OpenAI,
) -> None:
    chunks = list(
        client.chat.completions.create(
            model="math", messages=[{"role": "user", "content": SUM}], stream=True, n=2
        )
    )
    assert all(chunk.choices for chunk in chunks)
    told = [chunk.model_extra or {} for chunk in chunks]
    assert ["loramix" in extra for extra in told] == [False] * (len(told) - 1) + [True]
    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}


def test_completions_answer_a_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="math", prompt=SUM)
    assert answer.choices[0].text == ANSWER
    chunks = list(client.completions.create(model="math", prompt=SUM, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_n_seed_and_stop(client: openai.OpenAI) -> None:
    def draw(seed: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": "Tell me about the sea."}],
            n=3,
            seed=seed,
            temperature=1.0,
            max_tokens=12,
        )
        return [choice.message.content for choice in answer.choices]

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(1))) > 1
    cut = client.chat.completions.create(
        model="math", messages=[{"role": "user", "content": SUM}], stop=["\nAnswer"]
    )
    assert cut.choices[0].message.content == "2 + 3 = 5"


def test_logprobs_are_those_of_the_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="math",
        messages=[{"role": "user", "content": SUM}],
        logprobs=True,
        top_logprobs=2,
    )
    reported = answer.choices[0].logprobs
    assert reported is not None
    content = reported.content
    assert content is not None
    assert "".join(token.token for token in content) == ANSWER
    for token in content:
        assert token.logprob == token.top_logprobs[0].logprob <= 0  # greedy takes the likeliest
        assert len(token.top_logprobs) == 2
        assert bytes(token.bytes or ()).decode() == token.token
    text = client.completions.create(model="math", prompt=SUM, logprobs=1)
    lists = text.choices[0].logprobs
    assert lists is not None
    assert lists.tokens is not None
    assert lists.text_offset is not None
    for token, offset in zip(lists.tokens, lists.text_offset, strict=True):
        assert ANSWER[offset:].startswith(token)


def test_penalties_change_what_is_written(client: openai.OpenAI) -> None:
    plain, punished = (
        client.chat.completions.create(
            model="math",
            messages=[{"role": "user", "content": SUM}],
            extra_body={"repetition_penalty": penalty},
        )
        .choices[0]
        .message.content
        for penalty in (1.0, 10.0)
    )
    assert plain == ANSWER != punished


def test_models_have_root_and_parent(client: openai.OpenAI) -> None:
    import openai

    listed = {model.id: model.model_extra or {} for model in client.models.list()}
    assert {"auto", "base", "math", "code"} <= listed.keys()
    assert listed["math"]["parent"] == "base"
    assert listed["base"]["parent"] is None
    assert listed["base"]["root"] == "pocket"
    assert client.models.retrieve("math").id == "math"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_the_mix_field_gives_weights_outright(client: openai.OpenAI) -> None:
    for mix in ({"math": 0.5, "code": 0.5}, "code=0.5,math=0.5"):
        answer = client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": SUM}], extra_body={"mix": mix}
        )
        assert (answer.model_extra or {})["loramix"]["mix"] == {"code": 0.5, "math": 0.5}


def test_langchain_answers_and_streams(server: ServerProcess) -> None:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model="auto", base_url=f"{server.url}/v1", api_key="none", max_retries=0, temperature=0
    )
    assert model.invoke(SUM).content == ANSWER
    assert "".join(str(chunk.content) for chunk in model.stream(SUM)) == ANSWER


def test_curl_answers_and_streams(server: ServerProcess) -> None:
    def curl(body: dict[str, object]) -> str:
        return subprocess.run(
            [
                *("curl", "-sS", "-N", f"{server.url}/v1/chat/completions"),
                *("-H", "content-type: application/json", "-d", json.dumps(body)),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert json.loads(curl(chat(SUM)))["choices"][0]["message"]["content"] == ANSWER
    events = curl(chat(SUM, stream=True)).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert "loramix" in json.loads(events[-3].removeprefix("data: "))
