"""What keeps the codes of logins out of the access log of a web server."""

from __future__ import annotations

import copy
import logging
import re
from typing import Any
from urllib.parse import quote

from typing_extensions import override


class CallbackQueryFilter(logging.Filter):
    """Takes the query off the callback's address, wherever a log record holds one.

    It belongs on the logger, or on a handler, of the web server's access log. No
    record is held back, and other addresses stay as they are.

    Args:
        path: where the callback is: ``callback_path`` of ``OAuthConfig``.

    Spec: RFC 6819 section 4.4.1.1.
    """

    def __init__(self, path: str = "/oauth/callback") -> None:
        super().__init__()
        # Some servers log the path decoded, others as it was sent.
        spellings = "|".join(map(re.escape, sorted({path, quote(path)})))
        self._address = re.compile(rf'((?:{spellings})/?\?)([^\s"]+)')

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: the record is changed where it has to be, and let through."""
        record.msg = self._cut(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(map(self._cut, record.args))
        elif isinstance(record.args, dict):
            record.args = self._cut_all(record.args)
        return True

    def _cut(self, value: Any) -> Any:
        return self._address.sub(r"\1...", value) if isinstance(value, str) else value

    def _cut_all(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what a format chooses from, where the query may stand by itself."""
        texts = [value for value in values.values() if isinstance(value, str)]
        queries = [found[2] for text in texts for found in self._address.finditer(text)]
        # A copy of its own kind: hypercorn's gives a dash for what is not there.
        changed = copy.copy(values)
        changed.update((name, self._cut(value)) for name, value in values.items())
        changed.update((n, "...") for n, v in values.items() if v in queries)
        return changed
