"""A process that renders films and kills itself, at a point that does not depend on its speed."""

import signal
import subprocess
import sys

# Films get their names one after the other; the one after the last is written and has none yet.
FATAL = """
import os, signal, threading
lock, named, replace = threading.Lock(), [], os.replace
def replace_or_die(source, target):
    with lock:
        if str(target).endswith(".mp4"):
            if len(named) == {films}:
                os.kill(os.getpid(), signal.SIGKILL)
            named.append(target)
        replace(source, target)
os.replace = replace_or_die
"""


def render_until_killed(code: str, *, films: int) -> None:
    """Run `code` until `films` films are whole and another lies there in part."""
    ended = subprocess.run([sys.executable, "-c", FATAL.format(films=films) + code])
    assert ended.returncode == -signal.SIGKILL
