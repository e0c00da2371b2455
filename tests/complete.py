#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a shell offers at the end of a line: tests/complete.py SHELL SHARE LINE...

A real shell on a terminal of its own is given each LINE and the tabulator key, with SHARE (a
prefix's share folder) where it looks for completions. Prints "## LINE" and what the terminal then
showed, escape sequences left out: what completes the line, or the words to choose from."""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios

INPUTRC = """set show-all-if-ambiguous on
set completion-query-items 0
set page-completions off
set enable-bracketed-paste off
set bell-style none
"""
BASH = "source /usr/share/bash-completion/bash_completion; PS1=; PS2="
ZSH = ("PS1= RPS1= LISTMAX=1000; unsetopt prompt_sp prompt_cr auto_menu list_ambiguous beep; zle_bracketed_paste=(); "
       "fpath=({}/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D")


def cleaned(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", text).replace("\r", "\n")


def read_to(fd, mark):
    text = ""
    while mark not in cleaned(text):
        try:
            piece = os.read(fd, 65536)
        except OSError:
            piece = b""
        if not piece:
            sys.exit(f"the shell ended: {text!r}")
        text += piece.decode(errors="replace")
    return cleaned(text).split(mark)[0]


def rest(fd):
    """Reads until nothing more comes."""
    text = b""
    while select.select([fd], [], [], 0.2)[0]:
        text += os.read(fd, 65536)
    return cleaned(text.decode(errors="replace"))


def offered(fd, line, i):
    """The tabulator is typed once the shell has shown the line: readline takes one that waits for it
    as a character."""
    os.write(fd, line.encode())
    read_to(fd, line.rstrip())
    rest(fd)
    os.write(fd, b"\t")
    shown = rest(fd)
    os.write(fd, b"\x15echo done-$((%d+0))\n" % i)
    return shown + read_to(fd, f"done-{i}").replace(f"echo done-$(({i}+0))", "")


def main(shell, share, *lines):
    with tempfile.NamedTemporaryFile("w") as rc:
        rc.write(INPUTRC)
        rc.flush()
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(INPUTRC=rc.name, XDG_DATA_DIRS=share, TERM="xterm", HOME="/nonexistent", LC_ALL="C.UTF-8")
            args = ["--norc", "--noprofile", "-i"] if shell == "bash" else ["-f", "-i"]
            os.execvp(shell, [shell, *args])
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 220, 0, 0))
        os.write(fd, ((BASH if shell == "bash" else ZSH.format(share)) + "\necho ready-$((40+2))\n").encode())
        read_to(fd, "ready-42")
        for i, line in enumerate(lines):
            print(f"## {line}")
            print(offered(fd, line, i))
        os.write(fd, b"exit\n")
        os.close(fd)
        os.waitpid(pid, 0)


main(*sys.argv[1:])
