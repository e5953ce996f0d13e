"""pins.lock.json: text in, checked values out. Pure: no path is opened and nothing fails here.

A lock that cannot be used must not stop `bazel query`, `bazel run …:pin` or the targets that do not need it. So
every error is a value, and the target that needs the missing thing raises it when it is built.
"""

_HEX = "0123456789abcdef"
_DECIMAL = "0123456789"
NETWORKS = ["dev", "mainnet"]

def lock_error(code, message, mend):
    """Makes an error value.

    Args:
      code: UPPER_SNAKE
      message: what is wrong
      mend: what to do about it

    Returns:
      struct(code, message, mend)
    """
    return struct(code = code, message = message, mend = mend)

def _invalid(where, message):
    return lock_error(
        "LOCK_INVALID",
        "pins.lock.json: %s %s" % (where, message),
        "restore the file from version control, or write it anew with bazel run <this package>:pin -- --base=<commit>",
    )

def _only(text, alphabet):
    for letter in text.elems():
        if letter not in alphabet:
            return False
    return len(text) > 0

def _check_sha256(where, value):
    if type(value) != "string" or len(value) != 64 or not _only(value, _HEX):
        return _invalid(where, "must be 64 lower-case hex digits, is %r" % (value,))
    return None

def _check_keys(where, value, keys):
    if type(value) != "dict":
        return _invalid(where, "must be an object, is %r" % (value,))
    for key in value:
        if key not in keys:
            return _invalid(where, "has the unknown field %r; the fields are %s" % (key, ", ".join(keys)))
    for key in keys:
        if key not in value:
            return _invalid(where, "lacks the field %r" % key)
    return None

def _is_loopback(url):
    for host in ["http://127.0.0.1", "http://localhost", "http://[::1]"]:
        if url.startswith(host + "/"):
            return True
        if url.startswith(host + ":"):
            return _only(url[len(host) + 1:].partition("/")[0], _DECIMAL)
    return False

def _check_url(where, url, network):
    if type(url) != "string":
        return _invalid(where, "must be text, is %r" % (url,))
    for letter in url.elems():
        if letter <= " " or letter > "~" or letter in "\"'\\<>`{}":
            return _invalid(where, "holds a character that no URL has: %r" % url)
    if "@" in url:
        return _invalid(where, "holds credentials, or what looks like them: %r" % url)
    if url.startswith("https://") and len(url) > len("https://"):
        return None
    if network == "dev" and _is_loopback(url):
        return None
    return _invalid(where, "must begin with https:// (on dev also http:// to this machine), is %r" % url)

def _check_target(where, value, network):
    if network != "dev":
        return _invalid(where, "names a target, which only the dev network may")
    target = value["target"]
    if type(target) != "string" or not target.startswith("//") or target.count(":") != 1 or target.endswith(":"):
        return _invalid(where, "target must be a label like //package:name, is %r" % (target,))
    for letter in target.elems():
        if not (letter.isalnum() or letter in "/:._-+"):
            return _invalid(where, "target holds a character that no label of ours has: %r" % target)
    return None

def _check_base(base, network):
    if type(base) == "dict" and "target" in base:
        return _check_keys("base", base, ["target"]) or _check_target("base", base, network)
    error = _check_keys("base", base, ["commit", "urls", "sha256", "size"])
    if error:
        return error
    if type(base["commit"]) != "string" or len(base["commit"]) != 40 or not _only(base["commit"], _HEX):
        return _invalid("base.commit", "must be 40 lower-case hex digits, is %r" % (base["commit"],))
    if type(base["urls"]) != "list" or not base["urls"]:
        return _invalid("base.urls", "must be a list of at least one URL")
    for index, url in enumerate(base["urls"]):
        error = _check_url("base.urls[%d]" % index, url, network)
        if error:
            return error
    if type(base["size"]) != "int" or base["size"] <= 0:
        return _invalid("base.size", "must be the size in bytes, is %r" % (base["size"],))
    return _check_sha256("base.sha256", base["sha256"])

def _check_proposal(proposal, network):
    if proposal == None:
        return None
    if type(proposal) == "dict" and "target" in proposal:
        return _check_keys("proposal", proposal, ["target"]) or _check_target("proposal", proposal, network)
    error = _check_keys("proposal", proposal, ["id", "sha256", "requestSha256", "certifiedTimeNs"])
    if error:
        return error
    for field in ["id", "certifiedTimeNs"]:
        value = proposal[field]
        if type(value) != "string" or len(value) > 20 or not _only(value, _DECIMAL) or (len(value) > 1 and value[0] == "0"):
            return _invalid("proposal." + field, "must be a decimal number as text, is %r" % (value,))
    return (_check_sha256("proposal.sha256", proposal["sha256"]) or
            _check_sha256("proposal.requestSha256", proposal["requestSha256"]))

def parse_lock(text):
    """Reads the text of a pins.lock.json.

    Args:
      text: the file's text, or None when there is no such file

    Returns:
      struct(error, network, base, proposal): `error` is None or a `lock_error`, and then the others are None;
      `base` and `proposal` are the decoded objects, `proposal` may be None
    """
    nothing = struct(network = None, base = None, proposal = None)
    if text == None:
        return _failed(lock_error(
            "LOCK_MISSING",
            "this environment has no pins.lock.json",
            "pin a base release: bazel run <this package>:pin -- --base=<commit>",
        ), nothing)

    # A default that no JSON text decodes to stands for a text that does not decode.
    lock = json.decode(text, default = nothing)
    if lock == nothing:
        return _failed(_invalid("the file", "is not JSON"), nothing)
    error = _check_keys("the file", lock, ["version", "network", "base", "proposal"])
    if not error and lock["version"] != 1:
        error = _invalid("version", "must be 1, is %r" % (lock["version"],))
    if not error and lock["network"] not in NETWORKS:
        error = _invalid("network", "must be one of %s, is %r" % (", ".join(NETWORKS), lock["network"]))
    error = error or _check_base(lock["base"], lock["network"]) or _check_proposal(lock["proposal"], lock["network"])
    if error:
        return _failed(error, nothing)
    return struct(error = None, network = lock["network"], base = lock["base"], proposal = lock["proposal"])

def _failed(error, nothing):
    return struct(error = error, network = nothing.network, base = nothing.base, proposal = nothing.proposal)
