"""The disk is full (a file size limit stands in for it): said once, nothing lost, no id burnt."""

import resource

from api_link import CPU, Daemon
from conftest import wait_until


def limit(daemon, soft):
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


def test_trouble_is_told_once_and_ids_are_kept(sandbox):
    daemon = Daemon(sandbox)
    last = [daemon.task("true", request=CPU) for _ in range(20)][-1]
    daemon.wait(last)
    limit(daemon, 16384)
    rows = [{"command": ["true", str(i)], "request": CPU} for i in range(2000)]
    for _ in range(2):
        status, answer = daemon.ask("POST", "/v1/batches", {"name": "b", "tasks": rows})
        assert status >= 500, answer
    # Each answer took a turn of its own, a second apart: turns with nothing to store but the news.
    for _ in range(3):
        assert daemon.ask("POST", "/v1/tasks", {"command": ["true"], "request": CPU})[0] >= 500
    assert "written again" not in daemon.log.read_text()
    assert daemon.log.read_text().count("state cannot be written") == 1
    limit(daemon, resource.RLIM_INFINITY)
    wait_until(lambda: "written again" in daemon.log.read_text(), what="the news")
    assert daemon.task("true", request=CPU) == last + 1
