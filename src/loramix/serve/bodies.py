"""What may be asked, field by field."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from loramix.sampling import Sampling
from loramix.serve.fields import CHAT, COMPLETION, MESSAGE, PART, Neutral, without
from loramix.serve.settings import RouteBy

TOP_LOGPROBS = 20
STOPS = 16

Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A JSON object in which every field is known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    unsupported: ClassVar[dict[str, tuple[str, Neutral]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _every_field_is_known(cls, data: Any) -> Any:
        return without(data, set(cls.model_fields), cls.unsupported)


class TextPart(Body):
    """A part of a message."""

    unsupported = PART
    type: Literal["text"]
    text: str


class Message(Body):
    """One turn of a conversation."""

    unsupported = MESSAGE
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The whole content."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)

    def turn(self) -> dict[str, str]:
        """As the base's template takes it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.text}


class StreamOptions(Body):
    """What a stream tells besides its text.

    Attributes:
        include_usage: whether it ends with its usage.
        include_obfuscation: false; padding that hides the length of tokens is not supported.
    """

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Mixing(Body):
    """How the mix is found.

    Attributes:
        router, policy: instead of the server's; where the mix is `auto`.
        deadline: seconds, at most the server's.
    """

    router: Name | None = None
    policy: Name | None = None
    deadline: Annotated[float, Field(gt=0)] | None = None


class Asking(Mixing):
    """What chat and completions have in common.

    Attributes:
        model: `auto`, `base`, a skill, an expert, a saved mix, or a recipe.
        mix: weights or a recipe, beside the model `auto`.
        user: goes into the log and nowhere else.
    """

    model: Name = "auto"
    mix: dict[Name, Weight] | Name | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=STOPS)] | None = None
    stop_token_ids: Annotated[list[int], Field(max_length=STOPS)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=256)] | None = None

    @model_validator(mode="after")
    def _options_belong_to_a_stream(self) -> Asking:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "needs_stream", "'stream_options' is for streams: set 'stream' to true."
            )
        return self

    asks: ClassVar[str] = "prompt"
    """The field with what is asked."""

    @property
    def limit(self) -> tuple[str, int] | None:
        """The field that bounds the answer's tokens, and how many; None where none does."""
        return None if self.max_tokens is None else ("max_tokens", self.max_tokens)

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def alternatives(self) -> int | None:
        """How many likeliest tokens are reported; None without logprobs."""
        return None

    def sampling(self, max_tokens: int) -> Sampling:
        """How the completions are written."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_new_tokens=max_tokens,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(0, self.top_k or 0),
            seed=self.seed,
            stop=stop,
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            stop_tokens=tuple(self.stop_token_ids or ()),
            logprobs=self.alternatives,
        )


class ChatBody(Asking):
    """`POST /v1/chat/completions`.

    Attributes:
        route_by: what of the conversation the router reads; see `ServeSettings`.
    """

    unsupported = CHAT
    asks = "messages"
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS)] | None = None
    route_by: RouteBy | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError(
                "needs_logprobs", "'top_logprobs' needs 'logprobs' to be true."
            )
        both = self.max_tokens, self.max_completion_tokens
        if None not in both and both[0] != both[1]:
            raise PydanticCustomError(
                "two_limits", "'max_tokens' and 'max_completion_tokens' differ: give one of them."
            )
        return self

    @property
    def limit(self) -> tuple[str, int] | None:
        if self.max_completion_tokens is None:
            return super().limit
        return "max_completion_tokens", self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(Asking):
    """`POST /v1/completions`: the prompt is answered, as `loramix generate` does."""

    unsupported = COMPLETION
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS)] | None = None

    @property
    def text(self) -> str:
        """The one prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def alternatives(self) -> int | None:
        return self.logprobs


class RouteBody(Mixing):
    """`POST /v1/route`: a prompt or a conversation, and how it is to be routed."""

    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)] | None = None
    route_by: RouteBy | None = None
    why: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> RouteBody:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("one_of_two", "Give one of 'prompt' and 'messages'.")
        return self


class LoadBody(Body):
    """`POST /v1/load_lora_adapter`, vLLM's fields and some of our own.

    Attributes:
        lora_name: of the skill.
        lora_path: a folder inside the one that adapters may come from.
        load_inplace: replace a skill of that name.
        examples: prompts that the skill is for, from which the gate learns when to use it.
        description: what the skill does.
        expected_generation: refuse if the library has changed since it had this generation.
    """

    unsupported = {
        "base_model_name": ("the library has one base", ()),
        "is_3d_lora_weight": ("adapters of experts' layers are not plain LoRA", (False,)),
    }
    lora_name: Annotated[str, Field(max_length=256)]
    lora_path: Annotated[str, Field(min_length=1, max_length=1024)]
    load_inplace: bool = False
    examples: Annotated[list[str], Field(max_length=2000)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    expected_generation: Annotated[int, Field(ge=0)] | None = None


class UnloadBody(Body):
    """`POST /v1/unload_lora_adapter`, vLLM's fields and one of our own."""

    unsupported = {"lora_int_id": ("skills go by their names", ())}
    lora_name: Annotated[str, Field(max_length=256)]
    expected_generation: Annotated[int, Field(ge=0)] | None = None
