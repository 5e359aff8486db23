"""Models of the Anthropic Messages API, through the real SDK on its aiohttp transport.

Replies are read raw: parsing them into the SDK's objects would cost more CPU than everything else the worker does.
The retry loop is ours (``max_retries=0``): the SDK's would hold the permit while it sleeps.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import orjson

from schemas import Usage

from .http import limits, timeout
from .model import RETRYABLE_STATUS, Completion, ModelError, OnText, Prompt, count, retry_after_s, whole_text
from .timeouts import Timeouts


def client(concurrency: int, timeouts: Timeouts) -> anthropic.AsyncAnthropic:
    """One client for all models of this provider; key and address from ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL."""
    return anthropic.AsyncAnthropic(
        max_retries=0,
        timeout=timeout(timeouts),
        http_client=anthropic.DefaultAioHttpClient(limits=limits(concurrency), timeout=timeout(timeouts)),
    )


class AnthropicModel:
    """One model of the Messages API."""

    def __init__(self, name: str, client: anthropic.AsyncAnthropic) -> None:
        self.name = name
        self._client = client

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        """Calls the model once. Raises ModelError."""
        arguments: dict[str, Any] = {
            "model": self.name,
            "max_tokens": prompt.max_tokens,
            "system": prompt.system,
            "messages": [{"role": message.role, "content": message.text} for message in prompt.messages],
        }
        try:
            if on_text is None:
                return await self._whole(arguments)
            return await self._streamed(arguments, on_text)
        except anthropic.APIStatusError as error:
            raise _status_error(error) from error
        except anthropic.APITimeoutError as error:
            raise ModelError("no answer in time", retryable=True) from error
        except (anthropic.APIConnectionError, anthropic.APIResponseValidationError) as error:
            raise ModelError(f"connection: {error.__cause__ or error}", retryable=True) from error
        except (httpx2.HTTPError, OSError, json.JSONDecodeError) as error:
            # Inside a stream the SDK lets the transport's and the parser's own errors through.
            raise ModelError(f"stream: {type(error).__name__} {error}".strip(), retryable=True) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _whole(self, arguments: dict[str, Any]) -> Completion:
        # The SDK's own request path (keys, headers, error classes) without its walk through the parameters' types.
        response = await self._client.post("/v1/messages", cast_to=httpx2.Response, body=arguments)
        request_id = response.headers.get("request-id")
        try:
            body = orjson.loads(response.content)
            text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
            return Completion(
                whole_text(text), str(body.get("stop_reason") or "unknown"), _usage(body["usage"]), request_id
            )
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"malformed reply: {error}", retryable=True, request_id=request_id) from error

    async def _streamed(self, arguments: dict[str, Any], on_text: OnText) -> Completion:
        parts: list[str] = []
        usage: dict[str, Any] = {}
        finish_reason: str | None = None
        async with await self._client.messages.create(stream=True, **arguments) as stream:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    parts.append(event.delta.text)
                    on_text(event.delta.text)
                elif event.type == "message_start":
                    usage |= event.message.usage.to_dict(mode="json")
                elif event.type == "message_delta":
                    usage |= event.usage.to_dict(mode="json")
                    finish_reason = event.delta.stop_reason
                elif event.type == "message_stop" and finish_reason is not None:
                    return Completion(whole_text("".join(parts)), finish_reason, _usage(usage))
        raise ModelError("the stream ended without message_stop", retryable=True)


def _usage(fields: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(fields.get("input_tokens")) + count(fields.get("cache_creation_input_tokens")),
        output_tokens=count(fields.get("output_tokens")),
        cache_read_tokens=count(fields.get("cache_read_input_tokens")),
    )


def _status_error(error: anthropic.APIStatusError) -> ModelError:
    # An error event inside a stream arrives with the stream's own status, 200.
    in_stream = error.status_code < 400 and error.type in (
        "overloaded_error",
        "api_error",
        "rate_limit_error",
        "timeout_error",
    )
    spend_limit = isinstance(
        error, (anthropic.EnforcedSpendLimitReachedError, anthropic.ContractSpendLimitReachedError)
    )
    return ModelError(
        f"{error.status_code} {error.type or ''}: {error.message}"[:500],
        retryable=in_stream or (error.status_code in RETRYABLE_STATUS and not spend_limit),
        status=error.status_code,
        retry_after_s=retry_after_s(error.response.headers),
        request_id=error.request_id,
    )
