"""The quirks of the simulator and what must come of each: one table for the helper process and for `plimsoll gpus`."""

MIB = 1 << 20
GIB = 1 << 30


def pick(data, path):
    for key in path.split("."):
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def scenario(gpu0=None, **top):
    """Two GPUs, quirks of the first, and what else."""
    first = {"model": "rtx-a5500", **({"quirks": gpu0} if gpu0 else {})}
    return {"gpus": [first, {"model": "rtx-a400"}], **top}


def foreign(*sizes, **more):
    return [
        {"at": "0s", "gpu": 0, "event": "foreign", "vram": size, "name": f"holder-{i}", **more}
        for i, size in enumerate(sizes)
    ]


HEALTHY = {"gpus.1.health": "ok", "gpus.1.vram.total_bytes": 4094 * MIB, "gpus.1.name": "NVIDIA RTX A400"}

# scenario, what the sample must hold (a callable is a condition)
CASES = {
    "healthy": (
        scenario(driver="570.86.15", cuda="12.8"),
        {
            **HEALTHY,
            "state": "ok",
            "text": None,
            "driver_version": "570.86.15",
            "cuda_version": 12080,
            "gpus.0.name": "NVIDIA RTX A5500",
            "gpus.0.compute_capability": "8.6",
            "gpus.0.uuid": lambda v: v.startswith("GPU-"),
            "gpus.0.pci_bus_id": lambda v: v.endswith(":00.0") and len(v) == 16,
            "gpus.0.vram.driver_reserved_bytes": lambda v: v > 0,
            "gpus.0.vram": lambda v: v["total_bytes"]
            == v["used_bytes"] + v["free_bytes"] + v["driver_reserved_bytes"],
            "gpus.0.utilization_percent": 0,
            "gpus.0.temperature_celsius": lambda v: 10 < v < 60,
            "gpus.0.power_milliwatts": lambda v: v > 1000,
            "gpus.0.power_limit_milliwatts": 230000,
            "gpus.0.clock_graphics_mhz": lambda v: v > 0,
            "gpus.0.processes": [],
            "sampled_at": lambda v: v is not None,
        },
    ),
    "holders": (
        scenario(timeline=foreign("2G", percent=40)),
        {
            "gpus.0.vram.used_bytes": 2 * GIB,
            "gpus.0.utilization_percent": 40,
            "gpus.0.processes.0.used_bytes": 2 * GIB,
            "gpus.0.processes.0.name": "holder-0",
            "gpus.0.processes.0.start_time": lambda v: v > 0,
            "gpus.0.processes.0.graphics": False,
            "gpus.1.processes": [],
        },
    ),
    "stride 32": (
        scenario(timeline=foreign("2G", "512M", "640M"), quirks={"process_stride": 32}),
        {
            "gpus.0.processes": lambda v: [(p["name"], p["used_bytes"]) for p in v]
            == [("holder-0", 2 * GIB), ("holder-1", 512 * MIB), ("holder-2", 640 * MIB)]
        },
    ),
    "stride 24": (
        scenario(timeline=foreign("2G", "512M", "640M"), quirks={"process_stride": 24}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 512 * MIB, 640 * MIB]},
    ),
    "v3 missing": (
        scenario(timeline=foreign("2G", "1G"), quirks={"missing_symbols": ["nvml*Processes_v3"]}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 1 * GIB]},
    ),
    "v3 and v2 missing": (
        scenario(timeline=foreign("2G", "1G"), quirks={"missing_symbols": ["nvml*Processes_v[23]"]}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 1 * GIB]},
    ),
    "no process list": (
        scenario(quirks={"missing_symbols": ["nvml*RunningProcesses*"]}),
        {"gpus.0.processes": None, "gpus.0.health": "ok", "gpus.0.vram.used_bytes": 0},
    ),
    "compute and graphics": (
        scenario(timeline=foreign("1G", kind="compute+graphics")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, False)]},
    ),
    "graphics only": (
        scenario(timeline=foreign("1G", kind="graphics")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, True)]},
    ),
    "MPS client": (
        scenario(timeline=foreign("1G", kind="mps")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, False)]},
    ),
    "process memory unknown": (
        scenario({"process_memory_unknown": True}, timeline=foreign("1G")),
        {"gpus.0.processes.0.used_bytes": None, "gpus.0.vram.used_bytes": GIB},
    ),
    "dead process": (
        scenario({"dead_processes": True}, timeline=foreign("1G")),
        {
            "gpus.0.processes": lambda v: any(p["name"] == "holder-0" and p["start_time"] for p in v)
            and any(p["start_time"] is None and p["name"] is None for p in v)
        },
    ),
    "stale samples": (
        scenario({"stale_samples": True}, timeline=foreign("1G")),
        {"gpus.0.health": "ok", "gpus.0.processes": lambda v: len(v) == 1},
    ),
    "list grows": (
        scenario({"list_grows": True}, timeline=foreign("1G", "1G", "1G")),
        {"gpus.0.processes": lambda v: len([p for p in v if p["name"]]) >= 3},
    ),
    "size always 100": (
        scenario({"size_always_100": True}, timeline=foreign("1G")),
        {"gpus.0.processes": lambda v: len(v) == 1},
    ),
    "memory v2 missing": (
        scenario(quirks={"memory_v2": "missing"}, timeline=foreign("1G")),
        {
            "gpus.0.vram.driver_reserved_bytes": None,
            # v1 counts the driver's reserve as used; free is the same number in both
            "gpus.0.vram": lambda v: v["used_bytes"] > GIB and v["used_bytes"] + v["free_bytes"] == v["total_bytes"],
        },
    ),
    "memory v2 refused": (
        scenario(quirks={"memory_v2": "refused"}),
        {"gpus.0.vram.driver_reserved_bytes": None, "gpus.0.vram.total_bytes": lambda v: v > 23 * GIB},
    ),
    "memory v2 lenient": (
        scenario(quirks={"memory_v2": "lenient"}),
        {"gpus.0.vram.driver_reserved_bytes": lambda v: v > 0},
    ),
    "unified memory": (
        scenario({"memory": "unsupported"}),
        {
            **HEALTHY,
            "gpus.0.health": "ok",
            "gpus.0.unified_memory": True,
            "gpus.0.vram": {k: None for k in ("total_bytes", "used_bytes", "free_bytes", "driver_reserved_bytes")},
            "gpus.1.unified_memory": False,
        },
    ),
    "total zero": (
        scenario({"memory": "zero"}),
        {"gpus.0.health": "ok", "gpus.0.unified_memory": True, "gpus.0.vram.total_bytes": None},
    ),
    "fields not supported": (
        scenario({"not_supported": ["utilization", "temperature", "power", "nvmlDeviceGet*Power*Limit", "clocks", "capability"]}),
        {
            "gpus.0.health": "ok",
            "gpus.0.utilization_percent": None,
            "gpus.0.temperature_celsius": None,
            "gpus.0.power_milliwatts": None,
            "gpus.0.power_limit_milliwatts": None,
            "gpus.0.clock_graphics_mhz": None,
            "gpus.0.compute_capability": None,
            "gpus.0.vram.used_bytes": 0,
            "gpus.1.utilization_percent": 0,
        },
    ),
    "processes not supported": (
        scenario({"not_supported": ["processes", "mig", "events"]}),
        {"gpus.0.health": "ok", "gpus.0.processes": None},
    ),
    "old library": (
        scenario(
            quirks={
                "missing_symbols": [
                    "nvmlDeviceGetCount_v2",
                    "nvmlDeviceGetHandleByIndex_v2",
                    "nvmlDeviceGetPciInfo_v3",
                    "nvmlSystemGetCudaDriverVersion_v2",
                    "nvmlDeviceGetMemoryInfo_v2",
                    "nvmlDeviceGetMigMode",
                    "nvmlDeviceGetEnforcedPowerLimit",
                    "nvml*Processes_v[23]",
                ]
            }
        ),
        {
            **HEALTHY,
            "gpus.0.health": "ok",
            "gpus.0.pci_bus_id": lambda v: v is not None,
            "gpus.0.power_limit_milliwatts": 230000,
            "cuda_version": lambda v: v is not None,
        },
    ),
    "newer temperature call": (
        scenario(quirks={"missing_symbols": ["nvmlDeviceGetTemperature"]}),
        {"gpus.0.temperature_celsius": lambda v: v is not None and v > 10},
    ),
    "function that fails": (
        scenario({"fail": {"nvmlDeviceGetUtilizationRates": "timeout"}}),
        {
            **HEALTHY,
            "gpus.0.health": "error",
            "gpus.0.health_text": lambda v: "GetUtilizationRates" in v and "NVML 10" in v,
            "gpus.0.vram.used_bytes": 0,
        },
    ),
    "lost, 15": (
        scenario({"lost": True}),
        {**HEALTHY, "state": "ok", "gpus.0.health": "lost", "gpus.0.health_text": lambda v: "NVML 15" in v},
    ),
    "lost, 999": (
        scenario({"lost": {"code": 999}}),
        {**HEALTHY, "gpus.0.health": "lost", "gpus.0.health_text": lambda v: "NVML 999" in v},
    ),
    "lost with a smaller count": (
        scenario({"lost": {"listing": "smaller"}}),
        {**HEALTHY, "gpus.0.health": "lost", "gpus.1.index": 1},
    ),
    "lost and renumbered": (
        scenario({"lost": {"listing": "renumber"}}),
        {"state": "ok", "gpus": lambda v: len(v) == 1 and v[0]["name"] == "NVIDIA RTX A400" and v[0]["index"] == 0},
    ),
    "needs reset": (
        scenario({"error": 16}),
        {
            **HEALTHY,
            "gpus.0.health": "needs-reset",
            "gpus.0.health_text": lambda v: "NVML 16" in v and "--gpu-reset" in v,
        },
    ),
    "error 10": (
        scenario({"error": 10}),
        {**HEALTHY, "gpus.0.health": "error", "gpus.0.health_text": lambda v: "NVML 10" in v},
    ),
    "error 999": (scenario({"error": 999}), {**HEALTHY, "gpus.0.health": "lost"}),
    "handle 16": (scenario({"handle_error": 16}), {**HEALTHY, "gpus.0.health": "needs-reset"}),
    "handle without permission": (
        scenario({"handle_error": 4}),
        {**HEALTHY, "gpus.0.health": "error", "gpus.0.health_text": lambda v: "/dev/nvidia" in v},
    ),
    "MIG with holes": (
        {
            "gpus": [
                {"model": "a100-80g", "mig": ["hole", {"vram": "10G"}, "hole", {"vram": "20G", "slices": 2}]},
                {"model": "rtx-a400"},
            ]
        },
        {
            "gpus": lambda v: [g["index"] for g in v] == [1, 1001, 1003],
            "gpus.1.parent_uuid": lambda v: v.startswith("GPU-"),
            "gpus.1.uuid": lambda v: v.startswith("MIG-"),
            "gpus.1.vram.total_bytes": 10 * GIB,
            "gpus.1.utilization_percent": None,
            "gpus.1.power_milliwatts": None,
            "gpus.1.temperature_celsius": lambda v: v is not None,
            "gpus.1.compute_capability": "8.0",
            "gpus.1.health": "ok",
            "gpus.2.vram.total_bytes": 20 * GIB,
            "gpus.0.parent_uuid": None,
        },
    ),
    "MIG without instances": (
        {"gpus": [{"model": "a100-80g", "mig": ["hole"]}]},
        {"gpus.0.health": "error", "gpus.0.health_text": lambda v: "MIG is on" in v, "gpus.0.index": 0},
    ),
    "no GPUs": ({"gpus": []}, {"state": "no-gpus", "gpus": [], "text": lambda v: "no GPU" in v}),
    "mismatch": (
        scenario(quirks={"init_error": 18}),
        {"state": "mismatch", "gpus": [], "text": lambda v: "NVML 18" in v and "Reboot" in v},
    ),
    "no driver": (
        scenario(quirks={"init_error": 9}),
        {"state": "no-driver", "text": lambda v: "modprobe nvidia" in v},
    ),
    "library missing": (scenario(quirks={"init_error": 12}), {"state": "no-library"}),
    "no permission": (
        scenario(quirks={"init_error": 4}),
        {"state": "error", "text": lambda v: "/dev/nvidia" in v},
    ),
    "blocked": (scenario(quirks={"init_error": 17}), {"state": "error", "text": lambda v: "NVML 17" in v}),
    "unknown error": (scenario(quirks={"init_error": 999}), {"state": "error", "text": lambda v: "NVML 999" in v}),
    "slow": (scenario(quirks={"delay": "5ms"}), {**HEALTHY, "state": "ok", "gpus.0.health": "ok"}),
    "slow GPU": (scenario({"delay": "5ms"}), {**HEALTHY, "gpus.0.health": "ok"}),
}

# What holds the VRAM of the first GPU, as `plimsoll gpus` tells it: (name, bytes) of each foreign holder.
HOLDERS = {
    "holders": [("holder-0", 2 * GIB)],
    "stride 32": [("holder-0", 2 * GIB), ("holder-1", 512 * MIB), ("holder-2", 640 * MIB)],
    "stride 24": [("holder-0", 2 * GIB), ("holder-1", 512 * MIB), ("holder-2", 640 * MIB)],
    "v3 missing": [("holder-0", 2 * GIB), ("holder-1", 1 * GIB)],
    "v3 and v2 missing": [("holder-0", 2 * GIB), ("holder-1", 1 * GIB)],
    "compute and graphics": [("holder-0", 1 * GIB)],
    "graphics only": [("holder-0", 1 * GIB)],
    "MPS client": [("holder-0", 1 * GIB)],
    "process memory unknown": [("holder-0", None)],
    "stale samples": [("holder-0", 1 * GIB)],
    "size always 100": [("holder-0", 1 * GIB)],
    "healthy": [],
}
