"""The bzlmod door."""

load("//rules/private:pins.bzl", "LOCK_NAME", "declare_pins")
load("//rules/private:toolchain_repositories.bzl", "toolchain_repositories")

def _cvm_impl(mctx):
    toolchain_repositories()
    hubs = {}
    for module in mctx.modules:
        for tag in module.tags.pins:
            if tag.lock.name != LOCK_NAME:
                fail("cvm.pins: a lock is called %s, found %s" % (LOCK_NAME, tag.lock))
            hubs.setdefault(tag.hub, []).append(tag.lock)
    declare_pins(mctx, hubs)

cvm = module_extension(
    implementation = _cvm_impl,
    tag_classes = {
        "pins": tag_class(
            attrs = {
                "hub": attr.string(
                    default = "cvm_pins",
                    doc = "Name of the repository that gives access to what is pinned. Modules may share it, as long as their packages have " +
                          "different paths; a module that others depend on does well to have its own.",
                ),
                "lock": attr.label(
                    mandatory = True,
                    doc = "A pins.lock.json. It need not exist yet: what needs it says so when built.",
                ),
            },
            doc = "Makes a package's pins available as `@<hub>//<package>:base` and `:proposal`.",
        ),
    },
    doc = "The toolchain as package-lock.json pins it, and what lock files pin.",
)
