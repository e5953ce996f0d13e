"""Declares the repositories that hold Node.js, all that prebuilt bundles need. Both doors call this."""

load(":node_platforms.bzl", "NODE_PLATFORMS")
load(":node_repository.bzl", "node_repository")

def toolchain_repositories():
    """Declares one `cvm_node_<platform>` each; only what a build uses is fetched."""
    for platform, node in NODE_PLATFORMS.items():
        node_repository(
            name = "cvm_node_" + platform,
            package = node.package,
            package_lock = Label("//:package-lock.json"),
        )
