"""What is logged on the way of a whole login, over the real HTTP library."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal

from atproto_oauth_asgi.exceptions import OAuthError
from tests.network.atproto import (
    HANDLE,
    ISSUER,
    METADATA,
    PAR,
    TOKEN,
)
from tests.network.programs import (
    after,
    answer,
)
from tests.network.stage import (
    WEB_DID,
    Stage,
    closing,
)

pytestmark = pytest.mark.anyio


@pytest.mark.covers("LOG-03", "WEB-15")
async def test_logs_when_everything_is_logged_then_hold_no_secret(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Login, data, refresh, a failed login, revocation, at every level there is."""
    caplog.set_level(0)
    async with closing(stage.client()) as client:
        request = await client.start_authorization(HANDLE, app_state="canary-app")
        callback = stage.servers.approve(request[0])
        session = await client.handle_callback(**callback)
        await stage.get_record(client, session)
        await client.revoke_session(await client.refresh_session(session))
        stage.servers.signs_in = WEB_DID
        failing = await stage.approved(client)
        with pytest.raises(OAuthError):
            await client.handle_callback(**failing)
    seen = [*stage.servers.sent(PAR), *stage.servers.sent(TOKEN)]
    secrets = {
        *stage.servers.issued,
        *parse_qs(urlsplit(request[0]).query)["request_uri"],
        *(callback[name] for name in ("code", "state")),
        *(failing[name] for name in ("code", "state")),
        *(item.headers["dpop"] for item in seen),
        *(item.proof["jti"] for item in seen),
        *(item.proof["nonce"] for item in seen if "nonce" in item.proof),
        request.browser_binding,
        stage.servers.sent(TOKEN)[0].form["code_verifier"],
        "canary",
    }
    assert {record.name for record in caplog.records} >= {"httpcore.connection"}
    assert [text for text in secrets if text in caplog.text] == []


@pytest.mark.covers("LOG-04", "WEB-14")
async def test_logs_when_servers_say_odd_things_then_lines_stay_lines(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """No control character of a stranger, and no long text, reaches our log."""
    caplog.set_level(0)
    odd = "evil\r\n2026 root: all is well\x1b[31m\u202e" + "x" * 5000
    members = {"error": odd, "error_description": odd}
    refusal = answer(400, members, headers={"DPoP-Nonce": "n"})
    errors = []
    async with closing(stage.client()) as client:
        for hop, path in (("PAR", PAR), ("token", TOKEN)):
            step = await stage.walk_to(hop, client)
            stage.servers.on(ISSUER + path, refusal)
            with pytest.raises(OAuthError) as caught:
                await step()
            errors.append(str(caught.value))
            stage.servers.off(ISSUER + path)
        for changes in ({"issuer": odd}, {"token_endpoint": f"{ISSUER}/{odd}"}):
            stage.servers.clock.now += 301
            stage.servers.alter(ISSUER + METADATA, changes)
            with pytest.raises(OAuthError) as caught:
                await client.start_authorization(HANDLE)
            errors.append(str(caught.value))
        for name in (f"{HANDLE}\n{odd}", f"did:web:{odd}", f"https://{odd}"):
            with pytest.raises(OAuthError) as caught:
                await client.start_authorization(name)
            errors.append(str(caught.value))
    ours = [r.getMessage() for r in caplog.records if r.name == "atproto_oauth_asgi"]
    for line in ours + errors:
        assert line.isprintable(), line
        assert len(line) < 500


@pytest.mark.covers("LOG-07")
async def test_names_of_tasks_when_at_work_then_hold_no_secret(stage: Stage) -> None:
    """A monitor that lists tasks sees what they do, not for whom."""
    names: list[str | None] = []

    async def look() -> None:
        names.extend(task.name for task in anyio.get_running_tasks())

    async with closing(stage.client()) as client, BlockingPortal() as portal:
        # The servers have an event loop of their own; the tasks are in this one.
        look_here = after(partial(anyio.to_thread.run_sync, portal.call, look))
        for path in (PAR, TOKEN):
            stage.servers.on(ISSUER + path, look_here)
        request = await client.start_authorization(HANDLE)
        callback = stage.servers.approve(request[0])
        session = await client.handle_callback(**callback)
        await client.refresh_session(session)
    text = " ".join(str(name) for name in names)
    secrets = [*stage.servers.issued, callback["code"], callback["state"], HANDLE]
    assert len(names) > 3
    assert [item for item in secrets if item in text] == []


@pytest.mark.covers("LOG-05")
def test_docs_when_read_then_warn_of_access_logs() -> None:
    """What the web server logs is out of our hands, so people are told."""
    docs = Path(__file__).parents[2] / "docs" / "explanation" / "limitations.md"
    [warning] = re.findall(r"- The \*\*access log.*?\n- ", docs.read_text(), re.DOTALL)
    for word in ("/oauth/callback", "`code`", "`state`", "do not log the query"):
        assert word in warning
