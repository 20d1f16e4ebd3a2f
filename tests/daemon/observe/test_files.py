from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from stash_daemon.observe.files import DAY, LineFile, line_of, stamp

NOW = 1_800_000_000_000  # 2027-01-15


def days(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def touch(path: Path, now: int) -> None:
    os.utime(path, (now / 1000, now / 1000))


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    assert stamp(NOW + 7) == "2027-01-15T08:00:00.007Z"


def test_the_file_and_its_directory_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LineFile(f"{tmp_path}/log/a", None).append(b"x\n", NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "log/a").stat().st_mode) == 0o600


def test_a_file_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "a").touch(0o644)
    LineFile(f"{tmp_path}/a", None).append(b"x\n", NOW)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_link_and_a_pipe_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine\n")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r".") as caught:
            LineFile(f"{tmp_path}/{name}", None).append(b"x\n", NOW)
        assert caught.value.errno in (errno.ELOOP, errno.ENXIO, None)
    assert target.read_text() == "mine\n"


def test_lines_go_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for line in (b"1\n", b"2\n"):
        file = LineFile(f"{tmp_path}/a", None)
        file.append(line, NOW)
        file.close()
        touch(tmp_path / "a", NOW)
    assert (tmp_path / "a").read_bytes() == b"1\n2\n"


def test_midnight_begins_a_new_file(tmp_path: Path) -> None:
    file = LineFile(f"{tmp_path}/a", None)
    file.append(b"1\n", NOW)
    file.append(b"2\n", NOW + DAY)
    assert days(tmp_path) == ["a", "a.2027-01-15"]
    assert (tmp_path / "a.2027-01-15").read_bytes() == b"1\n"
    assert (tmp_path / "a").read_bytes() == b"2\n"


def test_a_run_that_starts_days_later_files_the_old_lines_under_their_day(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n")
    touch(tmp_path / "a", NOW - 3 * DAY)
    LineFile(f"{tmp_path}/a", None).append(b"2\n", NOW)
    assert days(tmp_path) == ["a", "a.2027-01-12"]


def test_seven_days_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    for name in ("a.notes", "a.2026-01-01.gz", "b.2026-01-01", "a.2026-01-01-x"):
        (tmp_path / name).touch()
    file = LineFile(f"{tmp_path}/a", 7 * DAY)
    for day in range(12):
        file.append(b"x\n", NOW + day * DAY)
    kept = [name for name in days(tmp_path) if name.startswith("a.2027")]
    assert kept == [f"a.2027-01-{day}" for day in range(19, 26)]
    assert days(tmp_path)[:4] == ["a", "a.2026-01-01-x", "a.2026-01-01.gz", "a.2027-01-19"]
    assert days(tmp_path)[-2:] == ["a.notes", "b.2026-01-01"]


def test_a_large_file_is_rotated_within_its_day_and_no_line_is_lost(tmp_path: Path) -> None:
    file = LineFile(f"{tmp_path}/a", None, max_bytes=100)
    for number in range(50):
        file.append(f"line {number}\n".encode(), NOW)
    names = ["a.2027-01-15", *(f"a.2027-01-15.{n}" for n in range(1, len(days(tmp_path)) - 1)), "a"]
    text = "".join((tmp_path / name).read_text() for name in names)
    assert text == "".join(f"line {number}\n" for number in range(50))
    assert all((tmp_path / name).stat().st_size <= 100 for name in names)


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    file = LineFile(f"{tmp_path}/a", None)
    file.append(b"1\n", NOW)
    (tmp_path / "a").rename(tmp_path / "moved")
    file.append(b"2\n", NOW)
    (tmp_path / "a").unlink()
    file.append(b"3\n", NOW)
    assert (tmp_path / "a").read_bytes() == b"3\n"
    assert (tmp_path / "moved").read_bytes() == b"1\n"


def test_a_line_that_does_not_fit_the_disk_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LineFile(f"{tmp_path}/a", None)
    file.append(b"whole\n", NOW)
    write, room = os.write, [3]

    def full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(descriptor, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append(b"too long\n", NOW)
    monkeypatch.setattr(os, "write", write)
    file.append(b"next\n", NOW)
    assert (tmp_path / "a").read_bytes() == b"whole\nnext\n"


def test_threads_never_tear_each_others_lines(tmp_path: Path) -> None:
    file = LineFile(f"{tmp_path}/a", None, max_bytes=2_000)

    def work(number: int) -> None:
        for _ in range(100):
            file.append(f"{number}".encode() * 20 + b"\n", NOW)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(str(number) * 20 for number in range(4) for _ in range(100))


def test_an_api_key_is_blotted_out_wherever_it_stands() -> None:
    api_key = "sk_" + "aB3-_" * 8 + "xyz"
    assert line_of(f'{{"key": "x{api_key}y"}}') == b'{"key": "xsk_[hidden]y"}\n'
    assert line_of("sk_short") == b"sk_short\n"
