"""Runs one command and reports its time and memory: ``python -I -S launcher.py REPORT_FD COMMAND...``

A process of its own, because on Linux a program's peak memory begins at that of the process that started it:
beside a launcher of nothing but an interpreter, a bare interpreter is measured right. The report is one line
of seconds, CPU seconds, peak bytes and the exit code.
"""

import os
import sys
import time


def main() -> None:
    report, command = int(sys.argv[1]), sys.argv[2:]
    begun = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, report)])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - begun
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    code = os.waitstatus_to_exitcode(status)
    os.write(report, f"{seconds} {usage.ru_utime + usage.ru_stime} {peak} {code}".encode())


main()
