"""Runs a command in a terminal of its own: terminal.py COMMAND ARG ...

The terminal has 24 lines of 80 columns. Copies what the terminal shows to standard output, and types what comes on standard input. SIGUSR1 pauses
the terminal: nothing reads it, as after Ctrl-S or on a stalled ssh connection. SIGUSR2 resumes it. SIGINT is passed on to the command.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios

paused = False


def pause(*_):
    global paused
    paused = True


def resume(*_):
    global paused
    paused = False


pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
signal.signal(signal.SIGUSR1, pause)
signal.signal(signal.SIGUSR2, resume)
signal.signal(signal.SIGINT, lambda *_: os.kill(pid, signal.SIGINT))

ended = None
inputs = [terminal, 0]
while True:
    if ended is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended = os.waitstatus_to_exitcode(status)
    if paused:
        if ended is not None:
            break
        select.select([], [], [], 0.05)
        continue
    ready, _, _ = select.select(inputs, [], [], 0.05)
    if 0 in ready:
        typed = os.read(0, 65536)
        if typed:
            os.write(terminal, typed)
        else:
            inputs.remove(0)
    if terminal not in ready:
        if ended is not None:
            break
        continue
    try:
        shown = os.read(terminal, 65536)
    except OSError:
        shown = b""
    if not shown:
        if ended is None:
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        break
    os.write(1, shown)
sys.exit(ended if ended >= 0 else 128 - ended)
