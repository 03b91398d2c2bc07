"""Warehouses that people sign in to, a headless Chromium, and a user who sits in front of it."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from secret_watch import WATCH
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser, "Chromium is missing: run `make chromium`"
    assert driver, "Chromium's driver is missing: run `make chromium`"
    # Pictures would stand in the log.
    logging.getLogger("selenium").setLevel(logging.INFO)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # Containers run as root and have a small /dev/shm.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=900,600",
    ):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        chromium.set_page_load_timeout(60)
        yield chromium
    finally:
        chromium.quit()


class User:
    """Somebody who gets the address of a page and does something there."""

    def __init__(self, chromium: webdriver.Chrome, does: Callable[[User], None], name: str) -> None:
        self.chromium = chromium
        self.does = does
        self.name = name
        self.addresses: list[str] = []
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def invite(self, address: str) -> None:
        """What `open_browser` gets."""
        # The state is for the user alone.
        WATCH.bind(parse_qs(urlsplit(address).query)["state"][0])
        self.addresses.append(address)
        self._thread = threading.Thread(target=self._act, args=[address])
        self._thread.start()

    def _act(self, address: str) -> None:
        try:
            self.chromium.get(address)
            self.does(self)
        except BaseException as failure:  # noqa: BLE001 - raised by `page`
            self._failure = failure

    def press(self, button: str) -> None:
        self.chromium.find_element(By.ID, button).click()
        WebDriverWait(self.chromium, 60).until(lambda chromium: "signed in" in chromium.title)

    def page(self) -> str:
        """Returns what the user has seen at the end, and keeps a picture of it."""
        assert self._thread is not None, "nobody was asked to sign in"
        self._thread.join(100)
        if self._failure is not None:
            raise self._failure
        ARTEFACTS.mkdir(exist_ok=True)
        picture = ARTEFACTS / f"{self.name}.png"
        assert self.chromium.save_screenshot(str(picture))
        print(f"screenshot: {picture}")
        return self.chromium.find_element(By.TAG_NAME, "body").text


def signs_in(user: User) -> None:
    user.press("sign-in")


@pytest.fixture
def user_who(chromium: webdriver.Chrome, request: pytest.FixtureRequest) -> Callable[..., User]:
    def sit_down(does: Callable[[User], None] = signs_in) -> User:
        return User(chromium, does, request.node.name.removeprefix("test_").replace("[", "-").rstrip("]"))

    return sit_down


@pytest.fixture
def provider() -> Iterator[LocalWarehouse]:
    """A warehouse whose provider replaces refresh tokens when they are used, and takes none twice."""
    switches: dict[str, Any] = {"oauth_rotate_refresh_tokens": True, "oauth_token_format": "opaque"}
    with LocalWarehouse(oauth=True, switches=switches) as warehouse:
        yield warehouse


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, for there the caches are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def oauth_warehouse() -> Iterator[LocalWarehouse]:
    """A warehouse that is an identity provider for the service principal `app`."""
    with LocalWarehouse(oauth={"client_id": "app", "client_secret": "canary-client-secret"}) as warehouse:
        yield warehouse
