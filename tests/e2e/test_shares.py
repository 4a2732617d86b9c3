"""Shares of a GPU, workers, and the VRAM of a task that says nothing of it."""

MIB = 1 << 20
# 23.57 GiB less 5 %, 8 GiB less 5 %, in whole MiB.
BIG, SMALL = 22929, 7782


def grants(sandbox, task):
    attempt = sandbox.json("show", task)["attempts"][-1]
    return [gpu["vram_bytes"] // MIB for gpu in attempt["gpus"]]


def two(simulated):
    return simulated(gpus="big:23.57G:1.0,small:8G:0.4")


def test_a_share_is_one_of_the_gpu_it_lands_on(simulated):
    sandbox = two(simulated)
    say = ["sh", "-c", "echo $PLIMSOLL_VRAM_LIMIT_BYTES $PLIMSOLL_VRAM_FRACTION {vram_mib}"]
    for gpu, half in ((0, BIG // 2), (1, SMALL // 2)):
        told = sandbox.plimsoll("run", "--gpus", "0.5", "-d", gpu, "--", *say, check=0).stdout.split()
        assert abs(int(told[2]) - half) <= 1 and int(told[0]) == int(told[2]) * MIB, told
        assert 0.47 < float(told[1]) < 0.48, told  # of the total, of which 5 % are kept back
    # Two halves go beside each other, and a third waits.
    ids = [sandbox.plimsoll("submit", "--fraction", "0.5", "-d", 1, "--", "sleep", "60", check=0).stdout.strip() for _ in range(3)]
    why = sandbox.plimsoll("why", ids[2], check=0).stdout
    assert "needs 0.5 of a GPU" in why and "GPU 1 has room for" in why, why
    assert abs(grants(sandbox, ids[1])[0] - SMALL // 2) <= 1
    # Half of each of two is not one half.
    both = sandbox.plimsoll("submit", "--gpus", "2", "--fraction", "0.5", "--", "true", check=0).stdout.strip()
    assert "needs 2 GPUs with 0.5 of a GPU each" in sandbox.plimsoll("why", both, check=0).stdout
    sandbox.plimsoll("cancel", *ids, check=0)
    sandbox.plimsoll("wait", both, check=0)
    assert [abs(mib - line // 2) <= 1 for mib, line in zip(sorted(grants(sandbox, both)), (SMALL, BIG))] == [True, True]
    task = sandbox.json("show", both)
    assert task["request"]["fraction"] == 0.5 and task["request"]["vram_bytes"] is None


def test_what_contradicts_itself_is_refused(two_gpus):
    for options, said in (
        (["--vram", "2G", "--fraction", "0.5"], "--vram asks for a size and --fraction for a share"),
        (["--vram", "2G", "--gpus", "0.5"], "--vram asks for a size and --gpus for a share"),
        (["--gpus", "0.5", "--fraction", "0.5"], "leave out one"),
        (["--gpus", "1.5"], "1.5 GPUs cannot be had"),
        (["--gpus", "0"], "--gpus: must be from 0.001 to 16"),
        (["--fraction", "1.5"], "--fraction"),
        (["--fraction", "0.5", "--cpu", "only"], "--cpu only takes no GPU"),
        (["--workers-per-gpu", "2", "-t"], "-t gives one command this terminal"),
    ):
        done = two_gpus.plimsoll("run", *options, "--", "true", check=2)
        assert said in done.stderr, (options, done.stderr)
    done = two_gpus.plimsoll("batch", "-", "--workers-per-gpu", "2", "--", "true", check=2)
    assert "there are rows" in done.stderr
    done = two_gpus.plimsoll("submit", "--workers-per-gpu", "2", "--gpus", "2", "--", "true", check=2)
    assert "--workers-per-gpu: a worker has one GPU" in done.stderr


def test_workers(simulated):
    sandbox = two(simulated)
    # None ends before all of them are there: they do run beside each other.
    command = (
        "echo {rank} {workers} $PLIMSOLL_WORKER_RANK $PLIMSOLL_WORKERS $PLIMSOLL_GPU_INDEX {vram_mib};"
        " touch here.{rank}; while [ $(ls here.* | wc -l) -lt {workers} ]; do sleep 0.05; done"
    )
    done = sandbox.plimsoll("run", "--workers-per-gpu", "2", "--", "sh", "-c", command, check=0)
    assert "batch b1: 4 workers" in done.stderr
    tasks = sandbox.json("queue", "--all")["tasks"]
    assert sorted((task["worker_rank"], task["workers"]) for task in tasks) == [(rank, 4) for rank in range(4)]
    lines = sorted(sandbox.plimsoll("logs", task["id"], check=0).stdout.split() for task in tasks)
    assert [line[:5] for line in lines] == [[str(r), "4", str(r), "4", str(r // 2)] for r in range(4)]
    assert all(abs(int(line[5]) - (BIG if line[4] == "0" else SMALL) // 2) <= 1 for line in lines), lines
    # One that fails leaves the others alone, and is told of.
    done = sandbox.plimsoll("batch", "-y", "--workers-per-gpu", "1", "--forbid", "1", "--", "sh", "-c", "exit {rank}", check=0)
    assert "1 worker" in done.stderr
    sandbox.plimsoll("batch", "-y", "--workers-per-gpu", "1", "--", "sh", "-c", "exit {rank}", check=1)


def test_vram_default(sandbox):
    config = sandbox.dir / "config" / "plimsoll"
    config.mkdir()
    (config / "plimsoll.yaml").write_text("queue: {vram_default: 3GiB}\n")
    sandbox.simulate(gpus="small:8G:0.4")
    said = sandbox.plimsoll("submit", "--vram-default", "2G", "--", "true", check=0).stdout.strip()
    silent = sandbox.plimsoll("submit", "--", "true", check=0).stdout.strip()
    sized = sandbox.plimsoll("submit", "--vram", "1G", "--", "true", check=0).stdout.strip()
    default = [sandbox.json("show", task)["vram_default_bytes"] for task in (said, silent, sized)]
    assert default == [2048 * MIB, 3072 * MIB, None]
