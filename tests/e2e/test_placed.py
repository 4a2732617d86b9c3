"""Services that were placed keep their VRAM while they idle: told, kept over a restart, dropped."""

from api_link import SIMTASK, Daemon
from conftest import wait_until

GIB = 1 << 30


def gpu(daemon, index=0):
    return daemon.get("/v1/gpus")["gpus"][index]


def placed(daemon):
    return {
        one["project"]: {s["service"]: (s["gpus"], s["vram_bytes"]) for s in one["services"]}
        for one in daemon.get("/v1/services")["projects"]
    }


def put(daemon, project, *services):
    body = {"services": [{"service": name, "gpus": gpus, "vram_bytes": vram} for name, gpus, vram in services]}
    return daemon.ask("PUT", f"/v1/services/{project}", body)


def test_an_idle_service_keeps_its_place(two_gpus):
    daemon = Daemon(two_gpus)
    first, second = gpu(daemon), gpu(daemon, 1)
    assert put(daemon, "shop", ("clip", [first["uuid"]], 6 * GIB), ("ocr", [second["uuid"]], GIB))[0] == 200
    held = gpu(daemon)
    assert held["vram"]["room_bytes"] == first["vram"]["room_bytes"] - 6 * GIB
    holder = next(h for h in held["holders"] if h["kind"] == "service")
    assert holder["name"] == "shop/clip" and holder["allocated_bytes"] == 6 * GIB and holder["used_bytes"] == 0
    large = daemon.task(SIMTASK, "--vram", "7G", "--seconds", "0.1", request={"vram_bytes": 7 * GIB})
    why = daemon.get(f"/v1/tasks/{large}/why")
    assert "kept for services" in str(why), why
    daemon.kill()
    daemon.start()
    assert placed(daemon) == {"shop": {"clip": ([first["uuid"]], 6 * GIB), "ocr": ([second["uuid"]], GIB)}}
    wait_until(lambda: daemon.get("/v1/gpus")["source"] == "ok", what="a sample")
    assert daemon.get(f"/v1/tasks/{large}")["task"]["state"] == "waiting"
    assert daemon.ask("DELETE", "/v1/services/shop")[0] == 200
    assert daemon.wait(large)["state"] == "done"
    assert placed(daemon) == {} and daemon.ask("DELETE", "/v1/services/shop")[0] == 404


def test_what_is_refused(two_gpus):
    daemon = Daemon(two_gpus)
    uuid = gpu(daemon)["uuid"]
    for body, said in (
        ({}, "services: must be an array"),
        ({"services": [{"service": "a", "gpus": ["GPU-no"], "vram_bytes": 1}]}, "is no UUID of a GPU here"),
        ({"services": [{"service": "a", "gpus": [uuid]}]}, "needs a `service` and its `vram_bytes`"),
    ):
        assert said in daemon.refused("PUT", "/v1/services/shop", body, 400)
    assert placed(daemon) == {}
    assert put(daemon, "shop", ("a", [uuid], GIB))[0] == 200
    assert put(daemon, "shop")[0] == 200 and placed(daemon) == {}


def test_apply_tells_the_daemon(two_gpus):
    daemon = Daemon(two_gpus)
    project = two_gpus.dir / "shop"
    project.mkdir()
    (project / "compose.yaml").write_text(
        "services:\n  clip:\n    image: x\n    x-plimsoll: {vram: 9G}\n    deploy: {resources: {reservations: {devices: "
        "[{driver: nvidia, device_ids: ['1'], capabilities: [gpu]}]}}}\n"
    )
    two_gpus.plimsoll("apply", "--yes", cwd=project, check=0)
    assert placed(daemon) == {"shop": {"clip": ([gpu(daemon)["uuid"]], 9 * GIB)}}
    vram = gpu(daemon)["vram"]
    assert vram["services_bytes"] == 9 * GIB == vram["load_line_bytes"] - vram["room_bytes"]
    shown = two_gpus.plimsoll("gpus", check=0).stdout
    assert "| foreign 0.0 | services 9.0 room 2.3 GiB" in " ".join(shown.split()) and shown.count("services") == 1, shown
    # A service that has gone from the file, or needs no GPU any more, keeps nothing; nor does the last of them.
    compose = (project / "compose.yaml").read_text()
    (project / "compose.yaml").write_text(compose.replace("clip:", "ocr:").replace("9G", "2G"))
    two_gpus.plimsoll("apply", "--yes", cwd=project, check=0)
    assert [(name, vram) for name, (_, vram) in placed(daemon)["shop"].items()] == [("ocr", 2 * GIB)]
    (project / "compose.yaml").write_text("services:\n  web: {image: x}\n")
    two_gpus.plimsoll("apply", "--yes", cwd=project)
    assert placed(daemon) == {} and "services" not in two_gpus.plimsoll("gpus", check=0).stdout
