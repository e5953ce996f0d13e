"""What a pins.lock.json may and may not say."""

load("//rules/private:lock.bzl", "parse_lock")
load("//rules/private:pins.bzl", "pins_content")
load(":starlark_test.bzl", "expect")

_SHA = "0123456789abcdef" * 4
_BASE = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "urls": ["https://releases.example/update-img.tar.zst"],
    "sha256": _SHA,
    "size": 1024,
}
_PROPOSAL = {"id": "139001", "sha256": _SHA, "requestSha256": _SHA, "certifiedTimeNs": "1770000000000000000"}
_LOCK = {"version": 1, "network": "mainnet", "base": _BASE, "proposal": _PROPOSAL}

def _without(value, key):
    return {k: v for k, v in value.items() if k != key}

def _error(lock):
    error = parse_lock(lock if type(lock) == "string" or lock == None else json.encode(lock)).error
    return error.code if error else None

def _base(**changes):
    return dict(_LOCK, base = dict(_BASE, **changes))

def _proposal(**changes):
    return dict(_LOCK, proposal = dict(_PROPOSAL, **changes))

def _dev(**changes):
    return dict(_LOCK, network = "dev", **changes)

def _rejected(law, lock):
    return expect(law, _error(lock), "LOCK_INVALID")

def _accepted(law, lock):
    return expect(law, _error(lock), None)

LOCK_CASES = [
    _accepted("takes a full mainnet lock", _LOCK),
    _accepted("takes a lock before the vote", dict(_LOCK, proposal = None)),
    _accepted("takes targets on dev", _dev(base = {"target": "//a/b:c.tar.zst"}, proposal = {"target": "//a:b"})),
    _accepted("takes a loopback URL on dev", _dev(base = dict(_BASE, urls = ["http://127.0.0.1:8080/x"]))),
    expect("says LOCK_MISSING when there is no file", _error(None), "LOCK_MISSING"),
    _rejected("rejects text that is not JSON", "{"),
    _rejected("rejects an empty file", ""),
    _rejected("rejects JSON that is no object", "[1]"),
    _rejected("rejects null", "null"),
    _rejected("rejects an unknown field", dict(_LOCK, note = "x")),
    _rejected("rejects an unknown field of base", _base(path = "/tmp/x")),
    _rejected("rejects an unknown field of proposal", _proposal(path = "/tmp/x")),
    _rejected("rejects a target beside other fields", _dev(base = dict(_BASE, target = "//a:b"))),
    _rejected("rejects another version", dict(_LOCK, version = 2)),
    _rejected("rejects a version as text", dict(_LOCK, version = "1")),
    _rejected("rejects an unknown network", dict(_LOCK, network = "testnet")),
    _rejected("rejects a network of another type", dict(_LOCK, network = None)),
    _rejected("rejects a target on mainnet", dict(_LOCK, base = {"target": "//a:b"})),
    _rejected("rejects a proposal target on mainnet", dict(_LOCK, proposal = {"target": "//a:b"})),
    _rejected("rejects a target in another repository", _dev(base = {"target": "@other//a:b"})),
    _rejected("rejects a target that breaks out of its quotes", _dev(base = {"target": "//a:b\", x = \"y"})),
    _rejected("rejects base null", dict(_LOCK, base = None)),
    _rejected("rejects a short commit", _base(commit = "0123")),
    _rejected("rejects a commit in capitals", _base(commit = _BASE["commit"].upper())),
    _rejected("rejects a short sha256", _base(sha256 = _SHA[:-1])),
    _rejected("rejects a sha256 in capitals", _base(sha256 = _SHA.upper())),
    _rejected("rejects an empty sha256", _base(sha256 = "")),
    _rejected("rejects a sha256 with a line break", _base(sha256 = _SHA[:-1] + "\n")),
    _rejected("rejects no URLs", _base(urls = [])),
    _rejected("rejects a URL that is no text", _base(urls = [1])),
    _rejected("rejects http", _base(urls = ["http://releases.example/x"])),
    _rejected("rejects a loopback URL on mainnet", _base(urls = ["http://127.0.0.1/x"])),
    _rejected("rejects a host that only begins like loopback", _dev(base = dict(_BASE, urls = ["http://127.0.0.1.example/x"]))),
    _rejected("rejects loopback as the name of a user", _dev(base = dict(_BASE, urls = ["http://127.0.0.1:x@example.com/"]))),
    _rejected("rejects loopback with a port that is none", _dev(base = dict(_BASE, urls = ["http://127.0.0.1:80x/"]))),
    _rejected("rejects credentials", _base(urls = ["https://user:secret@example.com/x"])),
    _rejected("rejects a target without a name", _dev(base = {"target": "//a:"})),
    _rejected("rejects a file URL", _base(urls = ["file:///etc/passwd"])),
    _rejected("rejects a URL with a quote", _base(urls = ["https://x/\"),print(\""])),
    _rejected("rejects a URL with a space", _base(urls = ["https://x/a b"])),
    _rejected("rejects size 0", _base(size = 0)),
    _rejected("rejects a size as text", _base(size = "1024")),
    _rejected("rejects an id as number", _proposal(id = 139001)),
    _rejected("rejects an id with a leading zero", _proposal(id = "0139001")),
    _rejected("rejects an id that is a path", _proposal(id = "../139001")),
    _rejected("rejects an empty id", _proposal(id = "")),
    _rejected("rejects a time as number", _proposal(certifiedTimeNs = 1)),
    _rejected("rejects a malformed request sha256", _proposal(requestSha256 = "0x" + _SHA)),
] + [
    _rejected("rejects a lock without %s" % key, _without(_LOCK, key))
    for key in _LOCK
] + [
    _rejected("rejects a base without %s" % key, dict(_LOCK, base = _without(_BASE, key)))
    for key in _BASE
] + [
    _rejected("rejects a proposal without %s" % key, dict(_LOCK, proposal = _without(_PROPOSAL, key)))
    for key in _PROPOSAL
]

def _hub(lock, files = []):
    return pins_content([struct(
        label = Label("//ic-os/guestos/envs/sev-recovery:pins.lock.json"),
        text = lock if type(lock) == "string" or lock == None else json.encode(lock),
        files = files,
    )])

def _package(lock, files = []):
    return _hub(lock, files).files["ic-os/guestos/envs/sev-recovery/BUILD.bazel"]

HUB_CASES = [
    expect("a missing lock stops nothing while loading", "LOCK_MISSING" in _package(None), True),
    expect("a missing lock downloads nothing", _hub(None).downloads, []),
    expect("a broken lock stops nothing while loading", "LOCK_INVALID" in _package("{"), True),
    expect("proposal null becomes an error target", "PROPOSAL_NOT_PINNED" in _package(dict(_LOCK, proposal = None)), True),
    expect("proposal null leaves the base usable", "actual = \"@cvm_base_%s//file\"" % _SHA in _package(dict(_LOCK, proposal = None)), True),
    expect("a pinned proposal without its files says so", "PROPOSAL_FILE_MISSING" in _package(_LOCK), True),
    expect("one file of two is not enough", "PROPOSAL_FILE_MISSING" in _package(_LOCK, ["139001.cbor"]), True),
    expect("a pinned proposal with its files is a filegroup", "PROPOSAL" in _package(_LOCK, ["139001.cbor", "139001.request.cbor"]), False),
    expect("the sha256 reaches http_file", _hub(_LOCK).downloads[0]["sha256"], _SHA),
    expect("two locks of one package: neither wins", [
        "LOCK_CONFLICT" in pins_content([
            struct(label = Label("//a:pins.lock.json"), text = json.encode(_LOCK), files = []),
            struct(label = Label("@bazel_tools//a:pins.lock.json"), text = json.encode(_LOCK), files = []),
        ]).files["a/BUILD.bazel"],
    ], [True]),
    expect("two repositories share a hub: neither takes the other's pins", [
        "\"%s\"" % key in pins_content([
            struct(label = Label("//a:pins.lock.json"), text = json.encode(_LOCK), files = []),
            struct(label = Label("@bazel_tools//b:pins.lock.json"), text = json.encode(_LOCK), files = []),
        ]).files["pins.bzl"]
        for key in ["@@//a", "@@bazel_tools//b", "@@//b", "@@bazel_tools//a"]
    ], [True, True, False, False]),
    expect("two locks of one base download it once", len(pins_content([
        struct(label = Label("//a:pins.lock.json"), text = json.encode(_LOCK), files = []),
        struct(label = Label("//b:pins.lock.json"), text = json.encode(_LOCK), files = []),
    ]).downloads), 1),
]
