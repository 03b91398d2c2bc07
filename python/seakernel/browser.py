"""Shows the page of a sign-in to the user: in a browser of this machine, or as an address on the terminal."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seakernel.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["show_page", "start"]


def start(address: str, opener: Callable[[str], object] | None, deliver: Callable[[str | None], None]) -> None:
    """Shows a page in a thread of its own, and passes to `deliver` what `show_page` returns."""

    def run() -> None:
        try:
            why_not = show_page(address, opener)
        except BaseException:  # noqa: BLE001 - what it says may repeat the address
            why_not = "opening it was broken off"
        deliver(why_not)

    threading.Thread(target=run, name="seakernel-browser", daemon=True).start()


def show_page(address: str, opener: Callable[[str], object] | None) -> str | None:
    """Opens `address` with `opener`, or in a browser.

    Returns:
        None, or why nobody will see the page. The address is not in it: its query is for the user alone.
    """
    if opener is not None:
        return _opened_by(opener, address)
    if _open_in_browser(address):
        return None
    if sys.stderr is None or not sys.stderr.isatty():
        return "this machine has no browser"
    parts = urlsplit(address)
    lines = [f"Open this page in a browser to sign in at {printable(parts.netloc, 200)}:", "", f"  {address}", ""]
    port = _port_of_return(parts.query)
    if os.environ.get("SSH_CONNECTION") and port is not None:
        lines[3:] = ["", f"With a browser on another machine, connect with `ssh -L {port}:localhost:{port}`.", ""]
    sys.stderr.write("\n".join(lines))
    sys.stderr.flush()
    return None


def _opened_by(opener: Callable[[str], object], address: str) -> str | None:
    try:
        result = opener(address)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no page
        # What it says may repeat the address.
        return f"`open_browser` raised {type(error).__name__}"
    if result is False:
        return "`open_browser` returned False"
    if hasattr(result, "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        return "`open_browser` is a coroutine function; expected a plain one"
    return None


def _open_in_browser(address: str) -> bool:
    import webbrowser

    try:
        browser = webbrowser.get()
        # Those take the terminal, which is the program's, and show no page with a script. A browser that the user has
        # named is the user's choice.
        is_textual = type(browser) in {webbrowser.GenericBrowser, getattr(webbrowser, "Elinks", None)}
        return bool((not is_textual or os.environ.get("BROWSER")) and browser.open(address))
    except (webbrowser.Error, OSError):
        return False


def _port_of_return(query: str) -> int | None:
    from urllib.parse import parse_qs

    return urlsplit(parse_qs(query).get("redirect_uri", [""])[0]).port
