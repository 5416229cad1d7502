"""The stage of `tests/network/stage.py` as pytest fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from atproto_oauth_asgi.client import OAuthClient
from tests.network.stage import Stage, closing, open_stage


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """The hosts of a whole login, each of which can be told to misbehave."""
    async with open_stage(monkeypatch) as opened:
        yield opened


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[OAuthClient]:
    """A client that logs in on the stage."""
    async with closing(stage.client()) as opened:
        yield opened
