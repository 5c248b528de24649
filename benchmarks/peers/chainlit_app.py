# pyright: basic, reportMissingImports=false
"""Chainlit with the OpenAI SDK, as its documentation shows it. Chainlit runs this file."""

import os

import chainlit as cl
from openai import AsyncOpenAI

client = AsyncOpenAI(
    base_url=os.environ["OPENAI_API_BASE"], api_key=os.environ["OPENAI_API_KEY"], max_retries=0
)


@cl.on_message
async def answer(message: cl.Message) -> None:
    reply = cl.Message(content="")
    stream = await client.chat.completions.create(
        model="demo", stream=True, messages=[{"role": "user", "content": message.content}]
    )
    async for chunk in stream:
        if chunk.choices and (token := chunk.choices[0].delta.content):
            await reply.stream_token(token)
    await reply.update()
