"""The tests find a browser, or say in one line what to install."""

from collections.abc import Callable

import pytest

from browser import chromium


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that sets up a machine; its list grows by each way that is tried."""

    def set_up(*, is_root: bool, package_works: bool = False, download_works: bool = False) -> list[str]:
        tried: list[str] = []
        monkeypatch.setattr(chromium, "installed", lambda: "/shell" if package_works and "apt" in tried else None)
        monkeypatch.setattr(chromium, "downloaded", lambda: "/own" if download_works and "download" in tried else None)
        monkeypatch.setattr(chromium, "may_install", lambda: is_root)
        monkeypatch.setattr(chromium, "install_package", lambda: tried.append("apt"))
        monkeypatch.setattr(chromium, "download", lambda: tried.append("download"))
        return tried

    return set_up


def test_root_installs_the_package(machine: Callable[..., list[str]]):
    tried = machine(is_root=True, package_works=True)

    assert chromium.find_chromium() == "/shell"
    assert tried == ["apt"]


@pytest.mark.parametrize(("is_root", "ways"), [(True, ["apt", "download"]), (False, ["download"])])
def test_download_of_playwright_is_the_last_way(machine: Callable[..., list[str]], is_root: bool, ways: list[str]):
    tried = machine(is_root=is_root, download_works=True)

    assert chromium.find_chromium() == "/own"
    assert tried == ways


def test_machine_without_any_way_gets_one_line_that_names_the_packages(machine: Callable[..., list[str]]):
    machine(is_root=True)
    with pytest.raises(chromium.NoBrowserError) as problem:
        chromium.find_chromium()

    assert "\n" not in str(problem.value)
    assert all(package in str(problem.value) for package in chromium.PACKAGES)
