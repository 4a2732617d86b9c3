"""kill -9 of the daemon, the supervisor and the NVML helper, one by one and all at once, and power cuts.

The size is a cut one; the whole one (2,000 tasks, 60 kills of each) is a part of `make soak`:

    PLIMSOLL_CHAOS_TASKS=2000 PLIMSOLL_CHAOS_KILLS=60 PLIMSOLL_CHAOS_SEED=1 python3 -m pytest -s tests/e2e/test_chaos.py
"""

import os
import random
import shutil
import signal
import time

import pytest
from api_link import CPU, Daemon
from chaos_link import Books, Killer, PowerCut, Submitter, Witness, all_tasks, still_open, verdict
from conftest import PATIENCE, wait_until

TASKS = int(os.environ.get("PLIMSOLL_CHAOS_TASKS", "160"))
KILLS = int(os.environ.get("PLIMSOLL_CHAOS_KILLS", "5"))
CUTS = int(os.environ.get("PLIMSOLL_CHAOS_CUTS", str(max(2, KILLS // 3))))
SEED = int(os.environ.get("PLIMSOLL_CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))


class Chaos:
    """One run: the seed decides what is submitted, who is killed and when the power is cut."""

    def __init__(self, box):
        self.dice = random.Random(SEED)
        self.box = box
        self.daemon = Daemon(box)
        self.witness = Witness(box.dir / "witness")
        self.killer = Killer(self.daemon, self.dice)
        self.submitter = Submitter(self.daemon, self.witness, random.Random(SEED + 1))
        self.books = Books(self.daemon)
        self.began = time.monotonic()
        self.submitter.start()

    def plan(self, cuts):
        steps = [what for what in self.killer.count for _ in range(KILLS)] + ["cut"] * cuts
        self.dice.shuffle(steps)
        for n, step in enumerate(steps):
            self.submitter.allow(TASKS * (n + 1) // len(steps))
            time.sleep(self.dice.uniform(0, 0.25))
            yield step

    def end(self):
        self.submitter.finish()
        try:
            wait_until(lambda: not still_open(all_tasks(self.daemon.socket)), timeout=4 * PATIENCE, what="the last task")
        except BaseException:
            for task in still_open(all_tasks(self.daemon.socket))[:10]:
                why = self.daemon.get(f"/v1/tasks/{task['id']}/why")
                print(f"task {task['id']} is {task['state']}: {why['reason']}; {task['attempts']}")
            print(self.daemon.log.read_text()[-3000:])
            raise
        self.books.look()
        found = verdict(all_tasks(self.daemon.socket), self.submitter.acked, self.witness.read())
        kills = ", ".join(f"{n} {what}" for what, n in self.killer.count.items())
        print(f"\nseed {SEED}: {len(self.submitter.acked)} tasks, kills: {kills}; {self.submitter.again} requests sent again; "
              f"{found['lost']} lost ({found['lost-never-ran']} of them never ran), {found['repeated']} repeated, "
              f"{found['never-ran']} starts undone; {time.monotonic() - self.began:.1f} s")
        return found


def test_kill_9_of_everything(two_gpus):
    print(f"\nPLIMSOLL_CHAOS_SEED={SEED}")
    chaos = Chaos(two_gpus)
    for n, step in enumerate(chaos.plan(cuts=0)):
        chaos.killer.strike(step)
        if n % 5 == 4:
            chaos.books.look()
    chaos.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="another machine is made of namespaces, which needs root")
def test_power_cuts(two_gpus):
    print(f"\nPLIMSOLL_CHAOS_SEED={SEED}")
    chaos = Chaos(two_gpus)
    lost = done = 0
    for step in chaos.plan(cuts=CUTS):
        if step != "cut":
            chaos.killer.strike(step)
            continue
        chaos.books.look()
        ended = dict(chaos.books.ended)
        cut = PowerCut(chaos.killer, chaos.submitter, chaos.witness, chaos.dice, two_gpus.dir / "cut")
        done += 1
        lost += cut.check(ended, to_the_end=done == CUTS)
        cut.close()
    chaos.end()
    print(f"{done} power cuts, after which {lost} attempts were lost")


def test_a_copy_of_the_state_is_a_queue_of_its_own(sandbox):
    """Opened beside the original, in the same boot: what runs belongs to the original and is not touched."""
    original = Daemon(sandbox)
    ends = sandbox.file("ends", "")
    task = original.task("sh", "-c", f"trap 'echo signalled >> {ends}; exit 1' TERM; sleep 60 & wait", request=CPU)
    wait_until(lambda: original.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    shutil.copytree(original.state, sandbox.dir / "copy/plimsoll")
    (sandbox.dir / "copy-run").mkdir(mode=0o700)
    env = {"XDG_STATE_HOME": str(sandbox.dir / "copy"), "XDG_RUNTIME_DIR": str(sandbox.dir / "copy-run")}
    before = dict(sandbox.env)
    sandbox.env.update(env)
    copy = Daemon(sandbox)
    lost = copy.wait(task)
    assert lost["state"] == "lost" and lost["attempts"][0]["exit_code"] is None
    assert copy.ask("POST", f"/v1/tasks/{task}/cancel")[0] == 409
    copy.stop()
    os.kill(copy.supervisor_pid(), signal.SIGTERM)
    sandbox.env = before
    assert original.get(f"/v1/tasks/{task}")["task"]["state"] == "running" and ends.read_text() == ""
    original.post(f"/v1/tasks/{task}/cancel")
    assert original.wait(task)["state"] == "canceled"
    assert ends.read_text() == "signalled\n"
