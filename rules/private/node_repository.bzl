"""Node.js through Bazel's own downloader, for whoever has no npm: what a release archive runs on."""

load(":node_platforms.bzl", "node_build_file")

_MEND = """\
  - or name the registry's address: --repo_env=NPM_CONFIG_REGISTRY=https://… (or registry=https://… in ~/.npmrc)
  - or register a Node.js of your own: cvm_node_toolchain of @rules_cvm//rules:defs.bzl"""

def npmrc_registry(text):
    """Finds the registry that an .npmrc names. Pure.

    Args:
      text: the file's text
    Returns:
      string, or None
    """
    found = None
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and key.strip() == "registry":
            found = value.strip().strip("\"'")
    return found or None

def _registry(rctx):
    for name in ["NPM_CONFIG_REGISTRY", "npm_config_registry"]:
        if rctx.getenv(name):
            return rctx.getenv(name)

    # npm knows its own configuration best.
    npm = rctx.which("npm")
    if npm:
        result = rctx.execute([npm, "config", "get", "registry"], timeout = 60)
        if result.return_code == 0 and result.stdout.strip() not in ["", "undefined"]:
            return result.stdout.strip()
    home = rctx.getenv("HOME")
    if home:
        npmrc = rctx.path(home + "/.npmrc")
        rctx.watch(npmrc)
        if npmrc.exists:
            registry = npmrc_registry(rctx.read(npmrc, watch = "yes"))
            if registry:
                return registry
    return None

def _node_repository_impl(rctx):
    package = rctx.attr.package
    pinned = json.decode(rctx.read(rctx.attr.package_lock))["packages"]["node_modules/" + package]
    if not pinned.get("integrity", "").startswith("sha512-"):
        fail("package-lock.json pins %s without a sha512 integrity" % package)
    registry = _registry(rctx)
    if not registry:
        fail("error NODE_SOURCE nothing says where Node.js %s (npm package %s) comes from\n" % (pinned["version"], package) +
             "mend:\n  - install npm, which knows\n" + _MEND)
    rctx.report_progress("fetching Node.js %s" % pinned["version"])
    rctx.download_and_extract(
        url = "%s/%s/-/%s-%s.tgz" % (registry.rstrip("/"), package, package, pinned["version"]),
        output = "node_modules/" + package,
        stripPrefix = "package",
        integrity = pinned["integrity"],
    )
    rctx.file("BUILD.bazel", node_build_file(package), executable = False)

node_repository = repository_rule(
    implementation = _node_repository_impl,
    attrs = {
        "package": attr.string(mandatory = True, doc = "npm's name of the Node.js for a platform."),
        "package_lock": attr.label(mandatory = True, doc = "package-lock.json, version 3, which pins its sha512."),
    },
    doc = """Fetches the Node.js that package-lock.json pins, without npm: its archive in an npm registry, whose address the
environment variable NPM_CONFIG_REGISTRY, npm or ~/.npmrc says. Bazel compares the sha512, and finds the file in its repository cache
and in --distdir.""",
)
