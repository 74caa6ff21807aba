"""Runs a program in a terminal of its own: waits for texts, sends keys and signals.

terminal.py STEPS PROGRAM...   STEPS is a JSON list of ["see", TEXT], ["send", KEYS],
["run", [COMMAND...]] and ["signal", NUMBER].
Prints {"code": …, "screen": all that it wrote, "same": whether the terminal is as before}.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

steps, program = json.loads(sys.argv[1]), sys.argv[2:]
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
before = termios.tcgetattr(slave)
child = subprocess.Popen(program, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
screen = b""
seen = 0


def read(seconds):
    global screen
    if select.select([master], [], [], seconds)[0]:
        screen += os.read(master, 65536)


for step, *args in steps:
    if step == "see":
        until = time.monotonic() + 40
        wanted = args[0].encode()
        # What an earlier step saw does not count.
        while wanted not in screen[seen:]:
            if time.monotonic() > until or child.poll() is not None:
                sys.exit(f"never saw {args[0]!r}: {screen[-4000:]!r}")
            read(0.2)
        seen += screen[seen:].index(wanted) + len(wanted)
    elif step == "send":
        os.write(master, args[0].encode())
    elif step == "run":
        subprocess.run(args[0], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    elif step == "signal":
        os.kill(child.pid, args[0])
until = time.monotonic() + 20
while child.poll() is None:
    if time.monotonic() > until:
        child.send_signal(signal.SIGKILL)
        sys.exit(f"it does not end: {screen[-4000:]!r}")
    read(0.2)
read(0.2)
same = before == termios.tcgetattr(slave)
print(json.dumps({"code": child.returncode, "screen": screen.decode(errors="replace"), "same": same}))
