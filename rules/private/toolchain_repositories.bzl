"""Declares the repositories that hold Node.js, the compiler and the libraries. Both doors call this.

A release archive has another file in this one's place, rules/dist/archive.toolchain_repositories.bzl: it needs Node.js alone.
"""

load(":node_platforms.bzl", "NODE_PLATFORMS", "node_build_file")
load(":npm_repository.bzl", "npm_repository")

_PACKAGE_LOCK = Label("//:package-lock.json")

# What building and testing the tools needs. Linters stay outside: they are a developer's, not the build's.
_PACKAGES = [
    "@bazel/typescript",
    "@dfinity/agent",
    "@dfinity/candid",
    "@dfinity/principal",
    "@noble/curves",
    "@noble/hashes",
    "@types/node",
    "cbor-x",
    "commander",
    "esbuild",
    "fast-check",
    "typescript",
    "valibot",
    "vite",
    "vitest",
]

def toolchain_repositories():
    """Declares `cvm_npm` and one `cvm_node_<platform>` each; only what a build uses is fetched."""
    npm_repository(
        name = "cvm_npm",
        package_lock = _PACKAGE_LOCK,
        packages = _PACKAGES,
    )
    for platform, node in NODE_PLATFORMS.items():
        npm_repository(
            name = "cvm_node_" + platform,
            package_lock = _PACKAGE_LOCK,
            packages = [node.package],
            os = node.os,
            cpu = node.cpu,
            build_file_content = node_build_file(node.package),
        )
