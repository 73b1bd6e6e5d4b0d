"""Attacks from inside the sandbox: by code in a job of ours, by code in a program, and by ffmpeg's own abilities.

Each has a canary: a file, a listener, a process that would show if an attack got through.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg
import pytest

from contentplatform.drivers import seccomp
from contentplatform.drivers.confinement import JobLimits
from contentplatform.drivers.sandbox import ProgramReport, Sandbox
from contentplatform.errors import ErrorCode, ProcessingFailed

SECRET: Final = "the-canary-sings"
LIMITS: Final = JobLimits(wall_seconds=300, cpu_seconds=60, threads=64, resident_bytes=300 << 20)
PERL: Final = Path("/usr/bin/perl")
FFMPEG: Final = Path(imageio_ffmpeg.get_ffmpeg_exe())
REFUSED: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOENT, errno.EXDEV, errno.EBADF, errno.ENOTTY})
"""No right, no such thing in sight, another file system as Landlock says it, not open for that, no device."""

# What a program that was taken over would do: the same attacks in Perl, which needs no file but its own. Each ends with
# a true value where it got through; the number of the error is said otherwise.
IN_PERL: Final = {
    "read": "open(F, '<', $t)",
    "list": "opendir(D, $t)",
    "write": "open(F, '>>', $t)",
    "make a folder": "mkdir($t)",
    "remove": "unlink($t)",
    "link": "symlink($t, 'link')",
    "link hard": "link($t, 'hard')",
    "move in": "rename($t, 'moved')",
    "change mode": "chmod(0777, $t)",
    "connect": "($t =~ /(.*):(.*)/) && socket(S, 2, 1, 0) && connect(S, pack('SnC4x8', 2, $2, split(/[.]/, $1)))",
    "connect to a path": "socket(S, 1, 1, 0) && connect(S, pack('Sa108', 1, $t))",
    "fork": "defined(fork)",
    "bomb": "do { my $got; for (1..2000) { $got ||= defined(fork) } $got }",
    "execute": "exec($t)",
    "signal": "kill(9, $t)",
    "signal by a pipe": "pipe(R, W) && fcntl(R, 8, $t+0) && fcntl(R, 10, 9) && fcntl(R, 4, 8192) && syswrite(W, 'x')",
    "attach": "syscall({ptrace}, 16, $t+0, 0, 0) >= 0",
    "read memory": "open(F, '<', '/proc/' . $t . '/mem')",
    "slow down": "syscall({setpriority}, 0, $t+0, 19) >= 0",
    "write the source": "open(F, '>&=3') && syswrite(F, 'x')",
    "reopen the source": "open(F, '+<', '/proc/self/fd/3')",
    "date the source": "open(F, '<&=3') && utime(1, 1, *F)",
    "open the source's mode": "open(F, '<&=3') && chmod(0777, *F)",
    "hold the source": "open(F, '<&=3') && fcntl(F, 1024, 1)",
    "allocate": "open(F, '>', 'hog') && syscall({fallocate}, fileno(F), 1, 0, $t+0) >= 0",
}


@dataclass
class Ring:
    """What is attacked, and who attacks."""

    folder: Path
    sandbox: Sandbox
    victim: subprocess.Popen[bytes]
    listener: socket.socket
    unix_listener: socket.socket
    runs: int = 0

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def secret(self) -> Path:
        """The input of another job."""
        return self.folder / "other" / "secret"

    def scratch(self) -> Path:
        self.runs += 1
        path = self.folder / f"scratch-{self.runs}"
        path.mkdir()
        return path

    def by_job(self, attack: str, target: str) -> int:
        request = {"attack": attack, "target": target}
        report = self.sandbox.run(request, self.source, self.scratch(), doing="x", limits=LIMITS)
        return int(report.result["error"])

    def by_program(self, attack: str, target: str) -> int:
        machine = seccomp.this_machine()
        assert machine is not None
        snippet = IN_PERL[attack]
        for name in ("ptrace", "setpriority", "fallocate"):
            snippet = snippet.replace(f"{{{name}}}", str(seccomp.REFUSED[name][machine.column]))
        lines: list[str] = []
        self.sandbox.execute(
            PERL,
            ["-e", f"$t = shift; $| = 1; print(({snippet}) ? 0 : $! + 0, qq(\\n))", "--", target],
            self.source,
            self.scratch(),
            doing="x",
            limits=LIMITS,
            devices=(Path("/dev/null"),),
            on_output=lines.append,
        )
        (line,) = lines
        return int(line)

    def ffmpeg(self, *arguments: str, source: Path | None = None) -> ProgramReport:
        given = ("-nostdin", "-v", "error", *arguments)
        return self.sandbox.execute(
            FFMPEG, given, source or self.source, self.scratch(), doing="x", limits=LIMITS, nice=0
        )

    def unharmed(self) -> None:
        """Nothing outside is different from what it was."""
        assert self.secret.read_text("ascii") == SECRET
        assert sorted(path.name for path in self.secret.parent.iterdir()) == ["secret"]
        assert self.source.read_text("ascii") == "hello"
        assert self.source.stat().st_mode & 0o777 == 0o600
        assert self.source.stat().st_mtime > 1
        assert self.victim.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, self.victim.pid) == 0
        for listener in (self.listener, self.unix_listener):
            with pytest.raises(BlockingIOError):
                listener.accept()
        for path in self.folder.glob("scratch-*/*"):
            assert path.is_symlink() or SECRET.encode() not in path.read_bytes()
            assert not path.is_symlink()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text(SECRET, encoding="ascii")
    (tmp_path / "source").write_text("hello", encoding="ascii")
    (tmp_path / "source").chmod(0o600)
    sandbox = Sandbox("fence_jobs:job", environment={"PYTHONPATH": str(Path(__file__).parent)})
    victim = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix_listener:
        listener.settimeout(0)
        unix_listener.bind(str(tmp_path / "door"))
        unix_listener.listen()
        unix_listener.settimeout(0)
        yield Ring(tmp_path, sandbox, victim, listener, unix_listener)
    sandbox.close()
    victim.kill()
    victim.communicate()


def targets(ring: Ring) -> dict[str, list[str]]:
    """What each attack is aimed at."""
    secret, folder, victim = str(ring.secret), str(ring.secret.parent), str(ring.victim.pid)
    port = ring.listener.getsockname()[1]
    source = [""]
    return {
        "read": ["/etc/passwd", secret, "/proc/self/environ", f"/proc/{victim}/environ", f"{ring.source}"],
        "list": ["/", folder, "/proc", "/proc/self/fd"],
        "write": [f"{folder}/new", secret, "/dev/shm/new", str(ring.source)],
        "make a folder": [f"{folder}/new", "new"],
        "remove": [secret],
        "link": [secret],
        "link hard": [secret],
        "move in": [secret],
        "change mode": [secret, str(ring.source)],
        "connect": ["169.254.169.254:80", f"127.0.0.1:{port}"],
        "connect to a path": [str(ring.folder / "door")],
        "fork": source,
        "bomb": source,
        "execute": ["/bin/true", "/bin/sh"],
        "signal": [victim],
        "signal by a pipe": [victim],
        "attach": [victim, str(os.getpid())],
        "read memory": [victim],
        "slow down": [victim],
        "write the source": source,
        "reopen the source": source,
        "date the source": source,
        "open the source's mode": source,
        "hold the source": source,
        "allocate": [str(64 << 20)],
    }


@pytest.mark.parametrize("attacker", ["job", "program"])
def test_every_attack_is_refused_and_no_canary_sings(ring: Ring, attacker: str) -> None:
    """The negative tests of the sandbox, all at once: reading, the metadata service, listeners, bombs, other jobs."""
    attack_by = ring.by_job if attacker == "job" else ring.by_program
    aimed = targets(ring)
    assert set(aimed) == set(IN_PERL)
    through = [
        (attack, target, answer)
        for attack, aims in aimed.items()
        for target in aims
        if (answer := attack_by(attack, target)) not in REFUSED
    ]
    assert through == []
    ring.unharmed()


def test_flags_of_the_source_stay_as_they_are(ring: Ring) -> None:
    assert ring.by_job("flag the source", "") == errno.ENOTTY


@pytest.mark.parametrize("attacker", ["job", "program"])
def test_what_is_allowed_gets_through(ring: Ring, attacker: str) -> None:
    """The same attacks at things of their own: the tests above can tell a wall from a mistake of theirs."""
    attack_by = ring.by_job if attacker == "job" else ring.by_program
    assert attack_by("write", "mine") == 0
    assert attack_by("list", ".") == 0


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_memory_bomb_costs_the_service_nothing(ring: Ring) -> None:
    ring.ffmpeg("-version")
    before_bytes = resident_bytes()
    with pytest.raises(ProcessingFailed) as caught:
        ring.sandbox.execute(
            PERL,
            ["-e", "while (1) { $x .= 'x' x 1_048_576; print STDERR 'y' x 65_536; print 'z' x 65_536, qq(\\n) }"],
            ring.source,
            ring.scratch(),
            doing="x",
            limits=LIMITS,
            devices=(Path("/dev/null"),),
        )
    assert caught.value.code is ErrorCode.LIMIT
    assert resident_bytes() - before_bytes < 16 << 20
    ring.unharmed()


# -- what ffmpeg can do by itself ------------------------------------------------------------------------------------


def test_ffmpeg_can_neither_read_nor_call_nor_write_elsewhere(ring: Ring) -> None:
    """Even asked outright, with every protocol that it knows."""
    port = ring.listener.getsockname()[1]
    null = ("-f", "null", "-")
    attempts = [
        ("-i", f"file:{ring.secret}", *null),
        ("-i", str(ring.secret), *null),
        ("-i", f"subfile,,start,0,end,4,,:{ring.secret}", *null),
        ("-i", f"concat:{ring.secret}|{ring.source}", *null),
        ("-f", "data", "-i", str(ring.secret), "-map", "0", "-f", "data", "stolen"),
        ("-f", "lavfi", "-i", f"movie={ring.secret}", *null),
        ("-f", "lavfi", "-i", f"color=s=64x64:d=1,drawtext=textfile={ring.secret}", *null),
        ("-i", f"http://127.0.0.1:{port}/", *null),
        ("-i", f"tcp://127.0.0.1:{port}", *null),
        ("-i", f"udp://127.0.0.1:{port}", *null),
        ("-i", "http://169.254.169.254/latest/meta-data/", *null),
        ("-i", f"unix:{ring.folder}/door", *null),
        ("-f", "lavfi", "-i", "testsrc2=d=1", "-y", str(ring.secret.parent / "new.mp4")),
        ("-f", "lavfi", "-i", "testsrc2=d=1", "-f", "mpegts", f"tcp://127.0.0.1:{port}"),
        ("-f", "lavfi", "-i", "testsrc2=d=1", "-f", "segment", f"{ring.secret.parent}/%d.ts"),
    ]
    assert [arguments for arguments in attempts if ring.ffmpeg(*arguments).exit_code == 0] == []
    ring.unharmed()


@pytest.mark.parametrize("whitelist", ["fd", "fd,file,http,tcp,crypto,data,subfile,concat"])
def test_h20_a_playlist_in_a_film_s_clothes_reaches_nothing(ring: Ring, whitelist: str) -> None:
    port = ring.listener.getsockname()[1]
    lists = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXTINF:1,\nfile://{ring.secret}\n",
        "concat": f"ffconcat version 1.0\nfile {ring.secret}\nfile http://127.0.0.1:{port}/a.ts\n",
        "sdp": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
        "dash": f"<MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL><Period/></MPD>",
    }
    for name, content in lists.items():
        path = ring.folder / f"{name}.mp4"
        path.write_text(content, encoding="ascii")
        given = ("-protocol_whitelist", whitelist, "-allowed_extensions", "ALL") if name == "hls" else ()
        forced = (*given, "-f", name) if whitelist != "fd" else ("-protocol_whitelist", whitelist)
        report = ring.ffmpeg(*forced, "-fd", "3", "-i", "fd:", "-c", "copy", "-f", "mpegts", "stolen", source=path)
        assert report.exit_code != 0
    ring.unharmed()


def test_nothing_is_left_running(ring: Ring) -> None:
    """A group that is killed leaves nobody: not one process of the attacks above has the zygote for its parent."""
    lines: list[str] = []
    ring.sandbox.execute(
        PERL,
        ["-e", "$| = 1; print getppid(), qq(\\n); defined(fork) for 1..50; exit 0"],
        ring.source,
        ring.scratch(),
        doing="x",
        limits=LIMITS,
        devices=(Path("/dev/null"),),
        on_output=lines.append,
    )
    zygote_pid = int(lines[0])
    children = Path(f"/proc/{zygote_pid}/task/{zygote_pid}/children").read_text("ascii").split()
    assert children == []
    os.kill(zygote_pid, signal.SIG_DFL)
