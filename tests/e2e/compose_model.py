"""What the services of a merged compose model say, in one form: for comparing readers that print it differently."""

import shlex


def text(value):
    """A scalar as YAML's core schema writes it: readers keep numbers and booleans as such, or as text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower()
    return str(value)


def mapping(value):
    """A list of KEY=VALUE or a map; of one without a value nobody says anything."""
    if isinstance(value, dict):
        pairs = value.items()
    else:
        pairs = []
        for item in value or []:
            if isinstance(item, dict):
                pairs += item.items()
            else:
                name, equals, rest = str(item).partition("=")
                pairs.append((name, rest if equals else None))
    return {str(name): text(v) for name, v in pairs if v is not None}


def words(value):
    return None if value is None else [text(item) for item in value]


def argv(value):
    """A command: compose splits a text as a shell would, without running one."""
    if isinstance(value, str):
        return shlex.split(value)
    return words(value) or []


def size(value):
    """Bytes of "2g", a number as a number, else the text."""
    try:
        if isinstance(value, str) and value.lower().rstrip("b")[-1:] in "kmg":
            number = value.lower().rstrip("b")
            return int(float(number[:-1]) * 1024 ** ("kmg".index(number[-1]) + 1))
        return float(value)
    except (ValueError, TypeError):
        return text(value)


def depends(value):
    if isinstance(value, list):
        value = {name: {} for name in value}
    return {name: (entry or {}).get("condition", "service_started") for name, entry in (value or {}).items()}


def requests(value):
    """Device requests: one that says neither count nor devices asks for all."""
    if isinstance(value, str):
        value = [{"count": value}]
    found = []
    for entry in value or []:
        entry = entry or {}
        count = text(entry.get("count"))
        count = "all" if count == "-1" else count
        ids = words(entry.get("device_ids"))
        found.append(
            {
                "driver": text(entry.get("driver")),
                "count": "all" if count is None and not ids else count,
                "ids": ids or [],
                "capabilities": words(entry.get("capabilities")),
                "options": mapping(entry.get("options")),
            }
        )
    return found


def devices(value):
    found = []
    for entry in value or []:
        if isinstance(entry, dict):
            entry = ":".join(str(entry[k]) for k in ("source", "target", "permissions") if entry.get(k))
        source, *rest = str(entry).split(":")
        found.append(":".join([source, rest[0] if rest else source, rest[1] if len(rest) > 1 else "rwm"]))
    return found


def restart(value):
    if isinstance(value, dict):
        value = value["Name"] + (f":{value['MaximumRetryCount']}" if value.get("MaximumRetryCount") else "")
    return text(value)


def service(model):
    """All that decides which GPU a service gets, and what is made anew when it changes."""
    resources = (model.get("deploy") or {}).get("resources") or {}
    replicas = (model.get("deploy") or {}).get("replicas", model.get("scale"))
    return {
        "image": text(model.get("image")),
        "builds": bool(model.get("build")),
        "container_name": text(model.get("container_name")),
        "runtime": text(model.get("runtime")),
        "reservations": requests((resources.get("reservations") or {}).get("devices")),
        "limits": {name: size(value) for name, value in (resources.get("limits") or {}).items()},
        "gpus": requests(model.get("gpus")),
        "devices": devices(model.get("devices")),
        "environment": mapping(model.get("environment")),
        "labels": mapping(model.get("labels")),
        "depends_on": depends(model.get("depends_on")),
        "profiles": words(model.get("profiles")) or [],
        "replicas": text(replicas) or "1",
        "network_mode": text(model.get("network_mode")),
        "restart": restart(model.get("restart")),
        "command": argv(model.get("command")),
        "entrypoint": argv(model.get("entrypoint")),
        "privileged": text(model.get("privileged")) or "false",
        "user": text(model.get("user")),
    }


def differences(one, other):
    """(service, key, name in it or None, one's, other's) of each thing two models say differently."""
    found = []
    for name in sorted(set(one) | set(other)):
        if name not in one or name not in other:
            found.append((name, "service", None, name in one, name in other))
            continue
        a, b = service(one[name]), service(other[name])
        for key in a:
            if isinstance(a[key], dict):
                inner = sorted(a[key].keys() | b[key].keys())
                found += [
                    (name, key, part, a[key].get(part), b[key].get(part))
                    for part in inner
                    if a[key].get(part) != b[key].get(part)
                ]
            elif a[key] != b[key]:
                found.append((name, key, None, a[key], b[key]))
    return found
