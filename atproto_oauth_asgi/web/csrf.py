"""Whether a POST comes from a page of this site.

Browsers say so themselves. A token in the form would add nothing, and pages of the
application could not post to our routes without one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

CROSS_SITE = "csrf"
HEADERS_MISSING = "csrf_headers_missing"


def find_csrf_problem(
    headers: Mapping[str, str], *, own_origin: str, trusted_origins: Collection[str]
) -> str | None:
    """Return the code of what is wrong, or None if the request may go on.

    ``Sec-Fetch-Site`` decides where it is sent; ``Origin`` elsewhere. A page with
    ``Referrer-Policy: no-referrer`` sends ``Origin: null`` to its own site.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site == "same-origin" or origin in trusted_origins:
        return None
    if site is not None:
        return CROSS_SITE
    if origin is None:
        return HEADERS_MISSING
    return None if origin == own_origin else CROSS_SITE
