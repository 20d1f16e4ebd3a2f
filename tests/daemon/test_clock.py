from __future__ import annotations

import time

import pytest

from stash_daemon import clock as page
from stash_daemon.clock import Anchor, SystemClock

WALL, MONOTONIC = 1_800_000_000_000, 5_000_000  # milliseconds


class Machine:
    """Two clocks and a boot that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic, self.boot = WALL, MONOTONIC, "first"
        monkeypatch.setattr(time, "time_ns", lambda: self.wall * 1_000_000)
        monkeypatch.setattr(time, "clock_gettime_ns", lambda _which: self.monotonic * 1_000_000)
        monkeypatch.setattr(page, "_boot_id", lambda: self.boot)

    def passes(self, ms: int) -> None:
        self.wall += ms
        self.monotonic += ms

    def reboots(self, ms: int) -> None:
        self.wall += ms
        self.monotonic, self.boot = 1_000, "second"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_first_run_believes_the_wall_clock(machine: Machine) -> None:
    assert SystemClock().now() == machine.wall


def test_a_jump_of_the_wall_clock_changes_nothing(machine: Machine) -> None:
    clock = SystemClock()
    machine.wall += 3_600_000
    assert clock.now() == WALL
    machine.wall -= 7_200_000
    machine.passes(250)
    assert clock.now() == WALL + 250


def test_a_restart_goes_on_exactly_whatever_the_wall_clock_says(machine: Machine) -> None:
    last = SystemClock().anchor()
    machine.passes(10_000)
    machine.wall -= 86_400_000
    assert SystemClock(last).now() == WALL + 10_000


def test_after_a_reboot_the_wall_clock_counts_the_time_off(machine: Machine) -> None:
    last = SystemClock().anchor()
    machine.reboots(90_000)
    assert SystemClock(last).now() == WALL + 90_000


def test_after_a_reboot_with_a_wall_clock_set_back_no_life_is_given_back(machine: Machine) -> None:
    last = SystemClock().anchor()
    machine.reboots(-90_000)
    assert SystemClock(last).now() == WALL


def test_without_a_name_for_the_boot_the_wall_clock_is_believed(machine: Machine) -> None:
    machine.boot = ""
    last = SystemClock().anchor()
    machine.passes(10_000)
    machine.wall += 5_000
    assert SystemClock(last).now() == WALL + 15_000


def test_a_monotonic_clock_that_went_back_is_a_reboot_that_kept_its_name(machine: Machine) -> None:
    last = Anchor("first", MONOTONIC + 60_000, WALL + 60_000)
    assert SystemClock(last).now() == WALL + 60_000


def test_an_anchor_is_the_moment_it_was_asked_for(machine: Machine) -> None:
    clock = SystemClock()
    machine.passes(77)
    assert clock.anchor() == Anchor("first", MONOTONIC + 77, WALL + 77)


def test_the_real_clock_agrees_with_the_wall_and_never_goes_back() -> None:
    clock = SystemClock()
    moments = [clock.now() for _ in range(1000)]
    assert moments == sorted(moments)
    assert abs(moments[-1] - time.time() * 1000) < 5_000
    assert clock.anchor().boot == SystemClock().anchor().boot
