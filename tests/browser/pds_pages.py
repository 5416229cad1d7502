"""The reference PDS's own pages, as a person uses them.

They come up when an application sends the browser to the authorization server:

- *welcome*: sign up or sign in (no `login_hint`, nobody remembered)
- *accounts*: the remembered accounts, and a way to another one (no `login_hint`)
- *password*: the sign-in form; with `login_hint` its user name cannot be changed
- *consent*: what the application asks for

Each function starts on any page from which its work can be done. None waits for the
application's page that comes after; its own tests know best what to wait for.
"""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.reference_network.process import Account


class PdsPageError(Exception):
    """The PDS's page refuses what was asked, or offers no way to do it."""


def sign_in_and_authorize(page: Page, account: Account) -> None:
    """Sign in as `account` and say yes to the application.

    Raises:
        PdsPageError: See `sign_in_as`.
    """
    sign_in_as(page, account.handle, password=account.password)
    authorize(page)


def sign_in_as(
    page: Page, username: str, *, password: str, remember: bool = False
) -> None:
    """Go to the consent page of this user, by the page's own ways.

    Args:
        page: On the welcome, accounts, password or consent page.
        username: A handle.
        password: Not used for an account that is already signed in.
        remember: Whether this browser keeps the account signed in at the PDS.

    Raises:
        PdsPageError: The password is wrong; or the application named somebody else
            as `login_hint`, for then these pages lead to no other account. (The
            server itself takes any account: `sign_in.approve` shows that.)
    """
    _go_to_form_or_consent(page, username)
    if not _authorize(page).is_visible():
        _fill_in_user(page, username)
        if remember:
            page.get_by_role("checkbox", name="Remember this account").check()
        _send_form(page, password)
    consenting = page.get_by_label("Account username").inner_text()
    if consenting != username:
        raise PdsPageError(f"this page asks for the consent of {consenting}")


def authorize(page: Page) -> None:
    """Say yes on the consent page."""
    _authorize(page).click()


def deny(page: Page) -> None:
    """Say no to the application, before or after signing in."""
    no = page.get_by_role("button", name="Deny access")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    no.or_(cancel).click()


def _go_to_form_or_consent(page: Page, username: str) -> None:
    """Leave the welcome or accounts page, if it is there."""
    form_or_consent = _password(page).or_(_authorize(page))
    ways_on = form_or_consent.or_(_other_account(page)).or_(_sign_in(page))
    expect(ways_on.first).to_be_visible()
    if form_or_consent.is_visible():
        return
    for way in (_listed_account(page, username), _other_account(page), _sign_in(page)):
        if way.is_visible():
            way.click()
            break
    expect(form_or_consent).to_be_visible()


def _fill_in_user(page: Page, username: str) -> None:
    user = page.locator('input[name="username"]')
    expect(user).to_be_visible()
    if user.is_editable():
        user.fill(username)
    elif user.input_value() != username:
        raise PdsPageError(f"this page lets nobody but {user.input_value()} sign in")


def _send_form(page: Page, password: str) -> None:
    """Send the password form, and wait for the consent page."""
    _password(page).fill(password)
    _sign_in(page).click()
    alert = page.get_by_role("alert")
    expect(_authorize(page).or_(alert)).to_be_visible()
    if alert.is_visible():
        raise PdsPageError(alert.inner_text())


def _password(page: Page) -> Locator:
    return page.locator('input[name="password"]')


def _sign_in(page: Page) -> Locator:
    return page.get_by_role("button", name="Sign in", exact=True)


def _other_account(page: Page) -> Locator:
    name = "Sign in to an account that is not listed"
    return page.get_by_role("button", name=name)


def _listed_account(page: Page, username: str) -> Locator:
    # Its label has the name from the profile, once there is one.
    handle = page.get_by_text(username, exact=True)
    return page.get_by_role("button").filter(has=handle)


def _authorize(page: Page) -> Locator:
    return page.get_by_role("button", name="Authorize", exact=True)
