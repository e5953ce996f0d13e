"""The one repository rule through which everything from npm comes in: compiler, libraries, Node.js itself."""

load(":npm_lock.bzl", "npm_lock_closure", "npm_lock_subset")

_BUILD = """\
# Made from package-lock.json. Beside node_modules: whoever needs that folder's path takes this file's.
exports_files(
    ["package.json"],
    visibility = ["//visibility:public"],
)
"""

_PACKAGE = """
# {name} {version}, with all it needs.
filegroup(
    name = "{name}",
    srcs = glob({patterns}, exclude = ["**/*.map", "**/*.md"]),
    visibility = ["//visibility:public"],
)
"""

def _npm_repository_impl(rctx):
    lock = json.decode(rctx.read(rctx.attr.package_lock))
    subset = npm_lock_subset(lock, rctx.attr.packages, optional = bool(rctx.attr.os))
    rctx.file("package.json", subset.package_json)
    rctx.file("package-lock.json", subset.package_lock)

    npm = rctx.which("npm")
    if npm == None:
        fail("npm is not on PATH. It is needed once, to fetch what package-lock.json pins: install Node.js 20 or newer with npm.")
    arguments = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
    if rctx.attr.os:
        arguments += ["--os=" + rctx.attr.os, "--cpu=" + rctx.attr.cpu]
    rctx.report_progress("npm ci")
    result = rctx.execute(arguments, timeout = 1800)
    if result.return_code != 0:
        fail("npm ci failed (%d). The npm registry must be reachable once; a proxy or mirror is set in .npmrc.\n%s\n%s" % (
            result.return_code,
            result.stdout,
            result.stderr,
        ))

    for package in rctx.attr.packages:
        if not rctx.path("node_modules/%s/package.json" % package).exists:
            fail("npm ci left out %s for %s %s: npm 10 or newer is needed" % (package, rctx.attr.os, rctx.attr.cpu))

    # Packages bring BUILD files of rulesets that are not here; they would make folders into Bazel packages.
    for name in ["BUILD", "BUILD.bazel", "WORKSPACE", "WORKSPACE.bazel", "MODULE.bazel", "REPO.bazel"]:
        for package in rctx.attr.packages:
            _delete_below(rctx, "node_modules/" + package, name)

    packages = lock["packages"]
    build = _BUILD
    for name in sorted(rctx.attr.packages):
        build += _PACKAGE.format(
            name = name,
            version = packages["node_modules/" + name]["version"],
            # A package inside another's folder comes with that folder; what npm left out matches nothing.
            patterns = json.encode([
                path + "/**"
                for path in npm_lock_closure(packages, [name])
                if path.count("node_modules/") == 1 and rctx.path(path).exists
            ]),
        )
    rctx.file("BUILD.bazel", rctx.attr.build_file_content + build)

def _delete_below(rctx, folder, name):
    pending = [rctx.path(folder)]
    for _ in range(4):
        following = []
        for path in pending:
            if path.get_child(name).exists:
                rctx.delete(path.get_child(name))
            if path.basename != "node_modules":
                following += [child for child in path.readdir() if child.is_dir]
        pending = following

npm_repository = repository_rule(
    implementation = _npm_repository_impl,
    attrs = {
        "build_file_content": attr.string(doc = "Text that stands before the made part of BUILD.bazel."),
        "cpu": attr.string(doc = "The processor to fetch for, in npm's words; empty means the host's."),
        "os": attr.string(doc = "The system to fetch for, in npm's words; empty means the host's."),
        "package_lock": attr.label(mandatory = True, doc = "package-lock.json, version 3."),
        "packages": attr.string_list(mandatory = True, doc = "The packages to take from the lock, with all they need."),
    },
    doc = """Fetches packages that package-lock.json pins, by `npm ci --ignore-scripts`.

Makes a repository with a `node_modules` folder and the given BUILD file. Refuses a lock entry without a
sha512 integrity; npm itself refuses a package that does not match it. Runs no script of any package.
Whoever wants the fetched packages offline keeps npm's cache.""",
)
