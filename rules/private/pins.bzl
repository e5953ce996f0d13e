"""From lock files to repositories: what both doors call.

A hub repository holds, for every locked package, aliases `:base` and `:proposal`, and `pins.bzl` with what `icos_build`
needs to know while loading. Downloads are `http_file`s beside it.
"""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")
load(":lock.bzl", "lock_error", "parse_lock")

LOCK_NAME = "pins.lock.json"

_PACKAGE = """\
# Made from {lock}.
load({rule}, "cvm_lock_error")
{base}
{proposal}
"""

_PINS = '''\
"""What is pinned, by package: for icos_build."""

_PINS = %s

# Labels are made here, so that they lead into this repository wherever they are used.
PINS = {
    package: dict(
        pinned,
        base_image = Label("//%%s:base" %% pinned["hub_package"]),
        proposal_files = Label("//%%s:proposal" %% pinned["hub_package"]),
    )
    for package, pinned in _PINS.items()
}
'''

_ALIAS = """
alias(
    name = {name},
    actual = {actual},
    visibility = ["//visibility:public"],
)
"""

_FILES = """
filegroup(
    name = {name},
    srcs = {srcs},
    visibility = ["//visibility:public"],
)
"""

_ERROR = """
cvm_lock_error(
    name = {name},
    code = {code},
    message = {message},
    mend = {mend},
    tags = ["manual"],
    visibility = ["//visibility:public"],
)
"""

def _alias(name, actual):
    return _ALIAS.format(name = repr(name), actual = repr(actual))

def pins_key(repository, package):
    """Names a package in `PINS`, whoever looks it up from wherever.

    Args:
      repository: canonical name of the package's repository; empty for the main one
      package: the package
    Returns:
      string
    """
    return "@@%s//%s" % (repository, package)

def _error(name, error):
    return _ERROR.format(
        name = repr(name),
        code = repr(error.code),
        message = repr(error.message),
        mend = repr(error.mend),
    )

def pins_content(locks):
    """Turns locks into the files of the hub and the downloads beside it. Pure.

    Args:
      locks: list of struct(label, text, files): the lock's Label, its text or None, and the names of the files
        that stand beside it

    Returns:
      struct(files, downloads): `files` maps paths in the hub to texts; `downloads` is a list of keyword
      arguments for `http_file`
    """
    files = {"BUILD.bazel": 'exports_files(["pins.bzl"])\n'}
    downloads = {}
    pins = {}
    owners = {}
    for item in locks:
        owners.setdefault(item.label.package, []).append(item.label)
    for item in locks:
        package = item.label.package
        where = pins_key(item.label.workspace_name, package)
        main = "@@" + item.label.workspace_name
        lock = parse_lock(item.text)
        if len(owners[package]) > 1:
            # The hub knows packages, not repositories: of two locks neither may win.
            lock = struct(network = None, base = None, proposal = None, error = lock_error(
                "LOCK_CONFLICT",
                "the package %s has several locks: %s" % (package, ", ".join([str(label) for label in owners[package]])),
                "give one of them a hub of its own: cvm.pins(hub = \"…\", lock = …)",
            ))
        error = lock.error
        if error:
            base = _error("base", error)
            proposal = _error("proposal", error)
        else:
            if "target" in lock.base:
                base = _alias("base", main + lock.base["target"])
            else:
                name = "cvm_base_" + lock.base["sha256"]
                downloads[name] = dict(
                    name = name,
                    urls = lock.base["urls"],
                    sha256 = lock.base["sha256"],
                    # The name under which Bazel looks for it in --distdir: `pin` puts it there.
                    downloaded_file_path = "update-img-%s.tar.zst" % lock.base["commit"],
                )
                base = _alias("base", "@%s//file" % name)
            proposal = _proposal(lock.proposal, main, where, item)
        files[package + "/BUILD.bazel"] = _PACKAGE.format(
            lock = str(item.label),
            rule = repr(str(Label("//rules/private:lock_error.bzl"))),
            base = base,
            proposal = proposal,
        )
        pinned = lock.proposal or {}
        pins[where] = dict(
            hub_package = package,
            network = lock.network,
            base_commit = (lock.base or {}).get("commit"),
            base_size = (lock.base or {}).get("size"),
            proposal = error == None and lock.proposal != None,
            proposal_id = pinned.get("id"),
            proposal_sha256 = pinned.get("sha256"),
            request_sha256 = pinned.get("requestSha256"),
            certified_time_ns = pinned.get("certifiedTimeNs"),
            files = [name for name in _proposal_files(pinned) if name in item.files],
        )
    files["pins.bzl"] = _PINS % repr(pins)
    return struct(files = files, downloads = downloads.values())

def _proposal_files(pinned):
    return [pinned["id"] + ".cbor", pinned["id"] + ".request.cbor"] if "id" in pinned else []

def _proposal(proposal, main, where, item):
    if proposal == None:
        return _error("proposal", lock_error(
            "PROPOSAL_NOT_PINNED",
            "%s pins a base release and no proposal: there is nothing yet that the NNS has blessed" % item.label,
            "build :partition-root-hash, :launch-measurements.json and :proposal-payload.json, submit the proposal, and " +
            "after the vote run bazel run //%s:pin -- --proposal=<id>" % item.label.package,
        ))
    if "target" in proposal:
        return _alias("proposal", main + proposal["target"])
    for name in _proposal_files(proposal):
        if name not in item.files:
            return _error("proposal", lock_error(
                "PROPOSAL_FILE_MISSING",
                "%s pins proposal %s, and %s is not beside it" % (item.label, proposal["id"], name),
                "restore the file from version control, or run bazel run //%s:pin -- --proposal=%s" % (
                    item.label.package,
                    proposal["id"],
                ),
            ))
    return _FILES.format(
        name = repr("proposal"),
        srcs = repr([where + ":" + name for name in _proposal_files(proposal)]),
    )

def _read_lock(ctx, label):
    """Reads a lock through the context of a repository rule or a module extension; a missing one is None."""
    folder = ctx.path(label.same_package_label("BUILD.bazel")).dirname
    path = folder.get_child(label.name)
    ctx.watch(path)
    names = []
    text = None
    if path.exists:
        text = ctx.read(path, watch = "yes")
        lock = parse_lock(text)
        for name in _proposal_files(lock.proposal or {}):
            ctx.watch(folder.get_child(name))
            if folder.get_child(name).exists:
                names.append(name)
    return struct(label = label, text = text, files = names)

def _hub_impl(rctx):
    for path, text in rctx.attr.files.items():
        rctx.file(path, text, executable = False)

_pins_hub = repository_rule(
    implementation = _hub_impl,
    attrs = {"files": attr.string_dict(mandatory = True)},
    doc = "Writes the hub's files as they were worked out by the module extension.",
)

def declare_pins(mctx, hubs):
    """Declares hubs and their downloads from a module extension.

    Args:
      mctx: the module extension's context
      hubs: dict from a hub's name to Labels of lock files, which need not exist
    """
    downloads = {}
    for name, labels in hubs.items():
        content = pins_content([_read_lock(mctx, label) for label in labels])
        _pins_hub(name = name, files = content.files)

        # Two hubs may pin one base.
        downloads.update([(download["name"], download) for download in content.downloads])
    for download in downloads.values():
        http_file(**download)

_DOWNLOADS = '''\
"""The downloads that the locks pin, for WORKSPACE.bazel."""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")

def pinned_files():
    """Declares one http_file for every pinned base release."""
{calls}
'''

def _pins_repository_impl(rctx):
    content = pins_content([_read_lock(rctx, label) for label in rctx.attr.locks])
    for path, text in content.files.items():
        rctx.file(path, text, executable = False)
    calls = ["    http_file(%s)" % ", ".join(["%s = %r" % item for item in download.items()]) for download in content.downloads]
    rctx.file("downloads.bzl", _DOWNLOADS.format(calls = "\n".join(calls or ["    pass"])), executable = False)

pins_repository = repository_rule(
    implementation = _pins_repository_impl,
    attrs = {"locks": attr.label_list(mandatory = True, doc = "Lock files, which need not exist.")},
    local = False,
    doc = """Makes the hub for WORKSPACE.bazel: as the module extension's, and `downloads.bzl` with `pinned_files()`.""",
)
